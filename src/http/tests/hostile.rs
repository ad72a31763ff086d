//! What clients that do not behave get, and that they cost nobody else anything.

use super::*;

#[tokio::test]
async fn who_sends_no_head_is_dropped() {
    let served = Served::metrics(HttpSettings {
        blocking_timeout: SHORT,
        ..HttpSettings::default()
    });
    let mut silent = served.connect().await;
    let mut dripping = served.connect().await;
    let drip = tokio::spawn(async move {
        // A byte at a time, without end, must not renew the time.
        for byte in METRICS
            .bytes()
            .take(METRICS.len() - 1)
            .chain(std::iter::repeat(b'x'))
        {
            if dripping.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(until_closed(&mut silent).await.is_empty());
    timeout(LONG, drip)
        .await
        .expect("the slow writer is dropped")
        .unwrap();
    served.until_connections(0).await;
}

#[tokio::test]
async fn a_connection_that_is_idle_is_closed_after_a_time_and_not_before() {
    let served = Served::metrics(HttpSettings {
        blocking_timeout: Duration::from_millis(50),
        idle_timeout: SHORT,
        ..HttpSettings::default()
    });
    let mut stream = served.connect().await;
    stream.write_all(METRICS.as_bytes()).await.unwrap();
    assert_eq!(read_one(&mut stream).await.status, 200);
    let start = Instant::now();
    assert!(until_closed(&mut stream).await.is_empty());
    // The time for the head of a request, which is shorter, does not count while nothing comes.
    assert!(
        start.elapsed() >= SHORT - Duration::from_millis(50),
        "{:?}",
        start.elapsed()
    );
    served.until_connections(0).await;

    // A second head that has begun has no longer than the first.
    served.settings.send_replace(Arc::new(HttpSettings {
        blocking_timeout: SHORT,
        idle_timeout: LONG * 10,
        ..HttpSettings::default()
    }));
    let mut stream = served.connect().await;
    stream.write_all(METRICS.as_bytes()).await.unwrap();
    read_one(&mut stream).await;
    stream.write_all(b"GET /met").await.unwrap();
    assert!(until_closed(&mut stream).await.is_empty());
    served.until_connections(0).await;
}

#[tokio::test]
async fn who_does_not_read_is_dropped_and_costs_nobody_else_anything() {
    let served = Served::new(
        HttpSettings {
            blocking_timeout: SHORT,
            ..HttpSettings::default()
        },
        with_big(1_000),
    );
    let mut stuck = Vec::new();
    for _ in 0..10 {
        let mut stream = served.connect().await;
        stream
            .write_all(b"GET /big HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        stuck.push(stream);
    }
    served.until_connections(10).await;
    assert_eq!(served.get("GET", "/metrics", "").await.status, 200);
    served.until_connections(0).await;
    for mut stream in stuck {
        let got = until_closed(&mut stream).await;
        assert!(got.len() < 64 * 1024 * 1_000, "got it all: {}", got.len());
    }
}

#[tokio::test]
async fn who_reads_slowly_but_steadily_gets_it_all() {
    let served = Served::new(
        HttpSettings {
            blocking_timeout: SHORT,
            ..HttpSettings::default()
        },
        with_big(320),
    );
    let mut stream = served.connect().await;
    stream
        .write_all(b"GET /big HTTP/1.1\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let start = Instant::now();
    let (mut bytes, mut piece) = (Vec::new(), vec![0; 512 * 1024]);
    loop {
        let n = timeout(LONG, stream.read(&mut piece))
            .await
            .unwrap()
            .unwrap();
        if n == 0 {
            break;
        }
        bytes.extend_from_slice(&piece[..n]);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(start.elapsed() > SHORT, "read too fast to say anything");
    assert!(Answer::parse(&bytes).body == big_body(320).concat());
}

/// Asks for something that is answered when the test says so.
async fn busy(served: &Served, asked: &Notify) -> TcpStream {
    let mut stream = served.connect().await;
    stream
        .write_all(b"GET /wait HTTP/1.1\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    timeout(LONG, asked.notified()).await.expect("it is asked");
    stream
}

#[tokio::test]
async fn connections_past_the_limit_are_refused_while_all_are_answered_and_served_again_later() {
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let router = waiting(Arc::clone(&asked), Arc::clone(&go));
    let served = Served::new(
        HttpSettings {
            max_connections: 4,
            ..HttpSettings::default()
        },
        |settings| router.merge(metrics::router(Scraper::default(), settings)),
    );
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(busy(&served, &asked).await);
    }
    served.until_connections(4).await;
    let refused = served.get("GET", "/metrics", "").await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert!(refused.text().contains("Too many connections"));
    // The limit may be raised while it runs.
    served.settings.send_replace(Arc::new(HttpSettings {
        max_connections: 5,
        ..HttpSettings::default()
    }));
    assert_eq!(served.get("GET", "/metrics", "").await.status, 200);
    // None of those that were being answered lost its answer.
    for stream in &mut held {
        go.notify_one();
        assert_eq!(Answer::read(stream).await.status, 200);
    }
    assert_eq!(served.get("GET", "/metrics", "").await.status, 200);
}

#[tokio::test]
async fn silent_connections_give_way_and_those_that_are_answered_do_not() {
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let router = waiting(Arc::clone(&asked), Arc::clone(&go));
    let served = Served::new(
        HttpSettings {
            max_connections: 8,
            ..HttpSettings::default()
        },
        |settings| router.merge(metrics::router(Scraper::default(), settings)),
    );
    let mut answered = busy(&served, &asked).await;
    let mut held = Vec::new();
    for number in 0..300_usize {
        let mut stream = served.connect().await;
        match number % 3 {
            // Says nothing, begins a head, or announces a body that never comes.
            0 => {}
            1 => stream.write_all(b"GET /metrics HT").await.unwrap(),
            _ => stream
                .write_all(b"POST /metrics HTTP/1.1\r\nContent-Length: 100000\r\n\r\n")
                .await
                .unwrap(),
        }
        held.push(stream);
        if number % 30 == 0 {
            assert_eq!(served.get("GET", "/metrics", "").await.status, 200);
        }
    }
    assert!(served.port.connections() <= 8);
    go.notify_one();
    assert_eq!(Answer::read(&mut answered).await.status, 200);
    drop(held);
    served.until_connections(0).await;
}

#[tokio::test]
async fn clients_that_take_nothing_of_their_answers_give_way_when_others_come() {
    let served = Served::new(
        HttpSettings {
            max_connections: 4,
            // So long they could stay.
            blocking_timeout: LONG * 10,
            ..HttpSettings::default()
        },
        with_big(1_000),
    );
    let mut stuck = Vec::new();
    for _ in 0..4 {
        let mut stream = served.connect().await;
        stream
            .write_all(b"GET /big HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        stuck.push(stream);
    }
    served.until_connections(4).await;
    let begun = Instant::now();
    while served.get("GET", "/metrics", "").await.status != 200 {
        assert!(begun.elapsed() < LONG, "never served");
    }
}

#[tokio::test]
async fn idle_connections_make_room_for_others() {
    let served = Served::metrics(HttpSettings {
        max_connections: 3,
        ..HttpSettings::default()
    });
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut stream = served.connect().await;
        stream.write_all(METRICS.as_bytes()).await.unwrap();
        read_one(&mut stream).await;
        idle.push(stream);
    }
    assert_eq!(served.get("GET", "/metrics", "").await.status, 200);
}

#[tokio::test]
async fn a_flood_of_connections_is_survived() {
    let served = Served::metrics(HttpSettings {
        max_connections: 8,
        ..HttpSettings::default()
    });
    let mut flood = Vec::new();
    for _ in 0..300 {
        flood.push(served.connect().await);
    }
    served.until_connections(8).await;
    drop(flood);
    served.until_connections(0).await;
    assert_eq!(served.get("GET", "/metrics", "").await.status, 200);
}
