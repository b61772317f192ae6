//! Signals that concern a program that has changed how the terminal behaves.

use std::{
    io,
    sync::mpsc::{Receiver, sync_channel},
    thread,
};

use kmi_tui::screen::Signal;
use rustix::process::{Signal as Kind, kill_current_process_group};
use tokio::signal::unix::{SignalKind, signal};

/// Most signals that wait; whoever sends more is heard later.
const WAITING: usize = 16;

/// Hears them, from now on for as long as the process lives.
pub(crate) fn watch() -> io::Result<Receiver<Signal>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let of = |kind: i32| {
        let _inside = runtime.enter();
        signal(SignalKind::from_raw(kind))
    };
    let (mut interrupt, mut terminate) = (of(Kind::INT.as_raw())?, of(Kind::TERM.as_raw())?);
    let (mut hangup, mut quit) = (of(Kind::HUP.as_raw())?, of(Kind::QUIT.as_raw())?);
    let (mut stop, mut go_on) = (of(Kind::TSTP.as_raw())?, of(Kind::CONT.as_raw())?);
    let (tell, signals) = sync_channel(WAITING);
    let work = async move {
        loop {
            let told = tokio::select! {
                _ = interrupt.recv() => end(Kind::INT),
                _ = terminate.recv() => end(Kind::TERM),
                _ = hangup.recv() => end(Kind::HUP),
                _ = quit.recv() => end(Kind::QUIT),
                _ = stop.recv() => Signal::Stop,
                _ = go_on.recv() => Signal::Continue,
            };
            if tell.send(told).is_err() {
                // Whoever held the terminal has gone, and the process follows.
                return;
            }
        }
    };
    let name = "signals".to_owned();
    thread::Builder::new().name(name).spawn(move || runtime.block_on(work))?;
    Ok(signals)
}

fn end(kind: Kind) -> Signal {
    Signal::End(u8::try_from(kind.as_raw()).unwrap_or(0))
}

/// Stops the process and those that were started with it, as Ctrl-Z does for programs that do not
/// hold the screen; returns when it goes on.
pub(crate) fn stop() {
    let _ = kill_current_process_group(Kind::STOP);
}
