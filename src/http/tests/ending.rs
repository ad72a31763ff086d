//! How a port ends.

use super::*;

#[tokio::test]
async fn shutdown_finishes_answers_under_way_and_nothing_else() {
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let served = Served::new(HttpSettings::default(), |settings| {
        waiting(asked.clone(), go.clone()).merge(metrics::router(Scraper::default(), settings))
    });
    let mut fresh = served.connect().await;
    let mut partial = served.connect().await;
    partial.write_all(b"GET /metr").await.unwrap();
    let mut idle = served.connect().await;
    idle.write_all(METRICS.as_bytes()).await.unwrap();
    read_one(&mut idle).await;
    let mut under_way = served.connect().await;
    under_way
        .write_all(b"GET /wait HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    asked.notified().await;
    served.until_connections(4).await;

    let start = Instant::now();
    served.shutdown.begin();
    for stream in [&mut fresh, &mut partial, &mut idle] {
        assert!(until_closed(stream).await.is_empty());
    }
    assert!(TcpStream::connect(served.address).await.is_err());
    go.notify_one();
    let answer = Answer::read(&mut under_way).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body == big_body(1).concat());
    drop((fresh, partial, idle, under_way));
    served.shutdown.finish(LONG).await.unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let served = Served::new(HttpSettings::default(), |_| waiting(asked.clone(), go));
    let mut stream = served.connect().await;
    stream
        .write_all(b"GET /wait HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    asked.notified().await;
    let start = Instant::now();
    served.shutdown.begin();
    served.shutdown.finish(LONG).await.unwrap();
    let took = start.elapsed();
    assert!(
        took >= Duration::from_secs(4) && took < Duration::from_secs(8),
        "{took:?}"
    );
    assert!(until_closed(&mut stream).await.is_empty());
}

#[tokio::test]
async fn shutdown_sends_the_tail_of_an_answer_to_a_slow_reader() {
    let served = Served::new(HttpSettings::default(), with_big(300));
    let mut stream = served.connect().await;
    stream
        .write_all(b"GET /big HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    // Some of it has come, and the rest waits.
    stream.readable().await.unwrap();
    served.shutdown.begin();
    let answer = Answer::read(&mut stream).await;
    assert!(answer.body == big_body(300).concat());
    drop(stream);
    served.shutdown.finish(LONG).await.unwrap();
}
