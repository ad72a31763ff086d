use std::collections::BTreeMap;
use std::sync::Condvar;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const LIMIT: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(30);

/// A name server whose answers a test writes down; a name without one is silent until the end.
#[derive(Default)]
struct Answers {
    answers: Mutex<BTreeMap<String, Result<&'static str, &'static str>>>,
    changed: Condvar,
    lookups: AtomicUsize,
}

impl Answers {
    fn set(&self, name: &str, answer: Result<&'static str, &'static str>) {
        self.answers.lock().unwrap().insert(name.to_owned(), answer);
        self.changed.notify_all();
    }

    fn silence(&self, name: &str) {
        self.answers.lock().unwrap().remove(name);
    }

    fn resolver(self: &Arc<Self>) -> NameResolver {
        let this = Arc::clone(self);
        NameResolver::with_lookup(move |name| {
            this.lookups.fetch_add(1, Ordering::Relaxed);
            let answers = this.answers.lock().unwrap();
            let (answers, _) = this
                .changed
                .wait_timeout_while(answers, PATIENCE, |answers| !answers.contains_key(name))
                .unwrap();
            match answers.get(name) {
                Some(Ok(address)) => Ok(vec![SocketAddr::new(address.parse().unwrap(), 0)]),
                Some(Err(error)) => Err(io::Error::other(*error)),
                None => Err(io::Error::other("Temporary failure in name resolution")),
            }
        })
    }
}

async fn resolved(resolver: &NameResolver, name: &str) -> Result<String, ResolveError> {
    let addresses = resolver.resolve(name, 5432, LIMIT).await?;
    Ok(addresses[0].to_string())
}

#[tokio::test]
async fn an_address_is_not_looked_up() {
    let resolver = NameResolver::with_lookup(|_| panic!("it was looked up"));
    for (host, expected) in [("10.1.2.3", "10.1.2.3:5432"), ("fd00::1", "[fd00::1]:5432")] {
        assert_eq!(resolved(&resolver, host).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn six_hundred_silent_names_do_not_delay_one_that_resolved_before() {
    let answers = Arc::new(Answers::default());
    let resolver = answers.resolver();
    answers.set("healthy", Ok("10.0.0.1"));
    assert_eq!(
        resolved(&resolver, "healthy").await.unwrap(),
        "10.0.0.1:5432"
    );
    let dead = |at: usize| {
        let resolver = resolver.clone();
        tokio::spawn(async move { resolver.resolve(&format!("dead{at}"), 1, LIMIT).await })
    };
    let dead: Vec<_> = (0..600).map(dead).collect();
    for one in dead {
        assert_eq!(one.await.unwrap(), Err(ResolveError::Late(LIMIT)));
    }
    // The new answer shows that it was looked up, and not remembered.
    answers.set("healthy", Ok("10.0.0.2"));
    let found = resolver.resolve("healthy", 5432, PATIENCE).await.unwrap();
    assert_eq!(found[0].to_string(), "10.0.0.2:5432");
    assert!(answers.lookups.load(Ordering::Relaxed) < 2 + 256);
    for at in 0..600 {
        answers.set(&format!("dead{at}"), Err("gone"));
    }
}

#[tokio::test]
async fn one_name_has_one_lookup_at_a_time_and_all_hear_of_it() {
    let answers = Arc::new(Answers::default());
    let resolver = answers.resolver();
    for _ in 0..3 {
        assert_eq!(
            resolved(&resolver, "slow").await,
            Err(ResolveError::Late(LIMIT))
        );
    }
    let waits = tokio::spawn({
        let resolver = resolver.clone();
        async move { resolver.resolve("slow", 5432, PATIENCE).await }
    });
    tokio::task::yield_now().await;
    answers.set("slow", Ok("10.0.0.1"));
    assert!(waits.await.unwrap().is_ok());
    assert_eq!(answers.lookups.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_last_good_answer_is_used_for_a_while() {
    let answers = Arc::new(Answers::default());
    let resolver = answers.resolver();
    let kept = |resolver: &NameResolver, since: Duration| {
        let mut names = resolver.names();
        let name = names.known.get_mut("moves").unwrap();
        name.last_good.as_mut().unwrap().0 = Instant::now() - since;
    };
    answers.set("moves", Ok("10.0.0.1"));
    assert_eq!(resolved(&resolver, "moves").await.unwrap(), "10.0.0.1:5432");
    // A new answer takes its place at once.
    answers.set("moves", Ok("10.0.0.2"));
    assert_eq!(resolved(&resolver, "moves").await.unwrap(), "10.0.0.2:5432");
    let cases = [
        ("Temporary failure in name resolution", 299, true),
        ("Temporary failure in name resolution", 301, false),
        ("Name or service not known", 59, true),
        ("Name or service not known", 61, false),
    ];
    for (error, since, used) in cases {
        answers.set("moves", Err(error));
        kept(&resolver, Duration::from_secs(since));
        assert_eq!(
            resolved(&resolver, "moves").await.is_ok(),
            used,
            "{error} {since}"
        );
    }
    kept(&resolver, Duration::ZERO);
    answers.silence("moves");
    assert_eq!(resolved(&resolver, "moves").await.unwrap(), "10.0.0.2:5432");
    answers.set("moves", Ok("10.0.0.3"));
}

#[tokio::test]
async fn names_that_nobody_asks_for_are_forgotten() {
    let resolver = NameResolver::with_lookup(|_| Err(io::Error::other("gone")));
    for at in 0..20 {
        let _ = resolved(&resolver, &format!("old{at}")).await;
    }
    for name in resolver.names().known.values_mut() {
        name.asked = Instant::now() - FORGOTTEN;
    }
    let _ = resolved(&resolver, "new").await;
    assert_eq!(resolver.names().known.len(), 1);
}

#[tokio::test]
async fn the_system_is_asked_for_names() {
    let resolver = NameResolver::default();
    let found = resolver.resolve("localhost", 5432, PATIENCE).await;
    assert!(found.unwrap()[0].ip().is_loopback());
}
