//! A small living workload: rows come, change and are read, a transaction stays open for a few
//! seconds, and now and then one session waits for another's lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use super::{Postgres, Session};

const TABLES: &str = "
    CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
    CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
    CREATE TABLE orders (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        customer bigint REFERENCES customers, amount numeric, paid boolean DEFAULT false);
    CREATE INDEX ON orders (customer);
    INSERT INTO customers (name) SELECT 'customer ' || n FROM generate_series(1, 1000) n;
    INSERT INTO orders (customer, amount) SELECT 1 + n % 1000, n FROM generate_series(1, 10000) n;";

const INSERTS: &str = "
    INSERT INTO orders (customer, amount)
    SELECT 1 + floor(random() * 1000), random() * 100 FROM generate_series(1, 5)";
const UPDATES: &str = "
    UPDATE orders SET paid = NOT paid WHERE id = 1 + floor(random() * 10000)::bigint;
    DELETE FROM orders WHERE id IN
        (SELECT id FROM orders WHERE id > 10000 ORDER BY id LIMIT 4)";
const SELECTS: &str = "
    SELECT c.name, sum(o.amount) FROM customers c JOIN orders o ON o.customer = c.id
    WHERE c.id = 1 + floor(random() * 1000)::bigint GROUP BY c.name";

/// The running workload. Dropping it ends it.
pub struct Workload {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Workload {
    /// Makes the tables in a database `shop`, and begins.
    pub fn start(server: &Postgres) -> Self {
        server.execute("CREATE DATABASE shop");
        server.execute_in("shop", TABLES);
        let mut workload = Self {
            stop: Arc::default(),
            threads: Vec::new(),
        };
        for (statements, pause) in [(INSERTS, 50), (UPDATES, 50), (SELECTS, 30)] {
            let session = server.session("shop");
            workload.repeat(Duration::from_millis(pause), move |_| {
                // A statement fails when the server is being stopped.
                let _ = session.try_execute(statements);
            });
        }
        let session = server.session("shop");
        workload.repeat(Duration::from_secs(1), move |stop| {
            long_transaction(&session, stop)
        });
        let (holder, waiter) = (server.session("shop"), server.session("shop"));
        workload.repeat(Duration::from_secs(3), move |stop| {
            blocked_lock(&holder, &waiter, stop);
        });
        workload
    }

    fn repeat(&mut self, pause: Duration, mut work: impl FnMut(&AtomicBool) + Send + 'static) {
        let stop = self.stop.clone();
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                work(&stop);
                rest(pause, &stop);
            }
        }));
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // What a thread of the workload panicked with, it has printed.
            let _ = thread.join();
        }
    }
}

fn long_transaction(session: &Session, stop: &AtomicBool) {
    let _ = session.try_execute("BEGIN; SELECT count(*) FROM orders");
    rest(Duration::from_secs(5), stop);
    let _ = session.try_execute("COMMIT");
}

fn blocked_lock(holder: &Session, waiter: &Session, stop: &AtomicBool) {
    let change = "UPDATE customers SET name = name WHERE id = 1";
    let _ = holder.try_execute(&format!("BEGIN; {change}"));
    let waiting = waiter.begin_blocking(change);
    rest(Duration::from_secs(2), stop);
    let _ = holder.try_execute("COMMIT");
    let _ = waiting.join();
}

/// Sleeps, but not past the end of the workload.
fn rest(pause: Duration, stop: &AtomicBool) {
    let step = Duration::from_millis(10);
    let mut left = pause;
    while !left.is_zero() && !stop.load(Ordering::Relaxed) {
        sleep(left.min(step));
        left = left.saturating_sub(step);
    }
}
