//! Running: all queries of a collection in one go, and what they need before.

use futures_util::future::{join_all, join3};
use tokio::time::{Instant, timeout_at};

use super::error::QueryError;
use super::facts::{Facts, no_answer};
use super::query::{Outcome, Shared, Slot};
use super::rows::{Mode, Way};
use super::session::Session;
use super::settings::SettingsSamples;
use crate::targets::Trouble;

/// What is asked beside the slots.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask {
    /// [`Facts`]; true with the list of databases.
    pub facts: Option<bool>,
    /// The settings.
    pub settings: bool,
}

/// What came back beside the slots.
#[derive(Debug, Default)]
pub struct Answer {
    /// Everything answered. If not, the session must be [`Session::settled`].
    pub complete: bool,
    /// `None`: not asked, or no answer in time.
    pub facts: Option<Result<Facts, QueryError>>,
    /// `None`: not asked, or no answer in time.
    pub settings: Option<Result<SettingsSamples, QueryError>>,
}

/// Users write `SELECT … FROM my_table`; ours name every schema and need no path but the one that
/// nobody else can write to.
const USERS_PATH: &str = "SET search_path = pg_catalog, public";

impl Session {
    /// Prepares what is not prepared yet. A query that cannot be is marked and left out.
    pub async fn prepare(&mut self, slots: &mut [Slot], deadline: Instant) -> Result<(), Trouble> {
        if self.mode != Mode::Kept {
            return Ok(());
        }
        for own in [true, false] {
            let missing = |slot: &&mut Slot| {
                slot.chosen.metric.builtin == own
                    && !slot.is_denied()
                    && slot.prepared.is_new_to(self.id)
            };
            let mut slots: Vec<&mut Slot> = slots.iter_mut().filter(missing).collect();
            if slots.is_empty() {
                continue;
            }
            let (client, id) = (&self.client, self.id);
            let prepare = async {
                // The server analyses a statement by the path of the moment, now and whenever it is
                // run under another one.
                if !own {
                    client
                        .batch_execute(USERS_PATH)
                        .await
                        .map_err(|e| QueryError::of(&e))?;
                }
                let results = join_all(
                    slots
                        .iter_mut()
                        .map(|slot| slot.prepared.prepare(client, id)),
                )
                .await;
                if !own {
                    client
                        .batch_execute("SET search_path = pg_catalog")
                        .await
                        .map_err(|e| QueryError::of(&e))?;
                }
                Ok(results)
            };
            let results = timeout_at(deadline, prepare)
                .await
                .map_err(|_| no_answer())?
                .map_err(QueryError::into_trouble)?;
            for (slot, result) in slots.into_iter().zip(results) {
                match result {
                    Err(QueryError::Lost(message, reason)) => {
                        return Err(Trouble { reason, message });
                    }
                    Err(error) => slot.fail(error),
                    Ok(()) => {}
                }
            }
        }
        Ok(())
    }

    /// Sends all of `slots` at once, with the questions for [`Facts`] and for the settings before
    /// them, and waits no longer than until `late` completes. What did not answer is left in
    /// [`Outcome::Running`].
    pub async fn run(
        &mut self,
        slots: &mut [&mut Slot],
        ask: Ask,
        shared: Shared<'_>,
        late: impl Future<Output = ()>,
    ) -> Answer {
        for slot in slots.iter_mut() {
            slot.begin();
        }
        let mut answer = Answer::default();
        let Answer {
            facts, settings, ..
        } = &mut answer;
        let this = &*self;
        let (plain, other): (Vec<&mut Slot>, Vec<&mut Slot>) = slots
            .iter_mut()
            .map(|slot| &mut **slot)
            .partition(|slot| this.is_plain(slot) && !slot.slow);
        let (mut users, mut special): (Vec<&mut Slot>, Vec<&mut Slot>) = other
            .into_iter()
            .partition(|slot| slot.chosen.metric.timeout.is_none() && !slot.slow);
        // What held up the others once waits for them from then on.
        special.sort_by_key(|slot| slot.slow);
        let everything = async {
            let ask_facts = async {
                if let Some(databases) = ask.facts {
                    *facts = Some(this.fetch_facts(databases).await);
                }
            };
            let ask_settings = async {
                if ask.settings {
                    let way = this.way(true);
                    let fetch = SettingsSamples::fetch(
                        &this.questions.settings,
                        &this.client,
                        this.id,
                        way,
                        shared.labels,
                    );
                    *settings = Some(fetch.await);
                }
            };
            let all = join_all(plain.into_iter().map(|slot| {
                let way = this.way(slot.chosen.metric.builtin);
                slot.run(&this.client, this.id, way, shared)
            }));
            join3(ask_facts, ask_settings, all).await;
            this.run_users(&mut users, shared).await;
            for slot in &mut special {
                this.run_special(slot, shared).await;
            }
        };
        answer.complete = tokio::select! {
            biased;
            () = everything => true,
            () = late => false,
        };
        if !answer.complete {
            // The server works on them in the order in which they were sent.
            let order = |slot: &&mut &mut Slot| {
                let plain = self.is_plain(slot) && !slot.slow;
                let own = slot.chosen.metric.timeout.is_some() || slot.slow;
                (!plain, own, slot.slow)
            };
            let running = slots
                .iter_mut()
                .filter(|slot| matches!(slot.outcome, Outcome::Running));
            if let Some(slot) = running.min_by_key(order) {
                slot.slow = true;
            }
        }
        if let Some(Ok(facts)) = &answer.facts {
            self.facts = Some(facts.clone());
        }
        answer
    }

    /// Whether a slot needs no settings of its own, so that it can go with all others. Behind a
    /// pooler each query brings them along.
    fn is_plain(&self, slot: &Slot) -> bool {
        let metric = &slot.chosen.metric;
        self.mode == Mode::Pooled || (metric.timeout.is_none() && metric.builtin)
    }

    /// Runs the users' own queries, all at once, under their path.
    async fn run_users(&self, slots: &mut [&mut Slot], shared: Shared<'_>) {
        if slots.is_empty() {
            return;
        }
        if let Err(error) = self.client.batch_execute(USERS_PATH).await {
            for slot in slots {
                slot.fail(QueryError::of(&error));
            }
            return;
        }
        let way = self.way(false);
        let all = slots
            .iter_mut()
            .map(|slot| slot.run(&self.client, self.id, way, shared));
        join_all(all).await;
        // If this fails the session is lost, and the next query finds out.
        let _ = self.client.batch_execute(&self.usual()).await;
    }

    async fn run_special(&self, slot: &mut Slot, shared: Shared<'_>) {
        let metric = &slot.chosen.metric;
        let limit = metric
            .timeout
            .unwrap_or(self.connector.target.timeouts.query);
        let way = self.way(metric.builtin);
        let before = format!(
            "SET statement_timeout = {}; SET search_path = pg_catalog{}",
            limit.as_millis(),
            if metric.builtin { "" } else { ", public" }
        );
        let direct = matches!(way, Way::Direct);
        if direct && let Err(error) = self.client.batch_execute(&before).await {
            slot.fail(QueryError::of(&error));
            return;
        }
        slot.run(&self.client, self.id, way, shared).await;
        if direct {
            // If this fails the session is lost, and the next query finds out.
            let _ = self.client.batch_execute(&self.usual()).await;
        }
    }
}
