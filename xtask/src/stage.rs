//! What the demos share: they run until they have shown all, or until Ctrl-C, and say how it ended.

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};

use tokio::signal::unix::{SignalKind, signal};

/// Runs a demo. It is told whether to end by itself (`ONCE=1` in the environment), and when to stop.
/// What it has to show is on the screen when it returns.
pub fn run(
    demonstrate: impl FnOnce(bool, &Receiver<()>) -> Result<(), String> + Send + 'static,
) -> ExitCode {
    let once = std::env::var("ONCE").is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
    // From here on a signal ends the demo in order; before, it just ends the process.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        let on = |kind| signal(kind).expect("signals can be caught");
        (
            on(SignalKind::interrupt()),
            on(SignalKind::terminate()),
            on(SignalKind::hangup()),
        )
    };
    let ended = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    };
    let (shown, seen) = tokio::sync::oneshot::channel();
    let (over, stop) = channel();
    let demo = std::thread::spawn(move || {
        let outcome = demonstrate(once, &stop);
        test_support::postgres::release();
        // Nobody listens any more after a signal.
        let _ = shown.send(());
        outcome
    });
    runtime.block_on(async {
        tokio::select! {
            () = ended => {
                println!("\nstopping");
                // The demo may have ended by itself.
                let _ = over.send(());
            }
            _ = seen => {}
        }
    });
    match demo.join() {
        Ok(Ok(())) => {
            println!("everything is stopped and removed");
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}
