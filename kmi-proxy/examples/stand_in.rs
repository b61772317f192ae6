//! Runs the built-in Kimi stand-in on its own, to try clients against it without a key.
//!
//! ```text
//! cargo run -p kmi-proxy --example stand_in -- [--listen 127.0.0.1:0] [--healthy|--failing]
//! ```
//!
//! It prints its base URL and its keys. `GET /__requests` at its origin lists what it was asked.
//! Two of its seven keys have trouble for a while, as in `kmi demo`; `--healthy` has none. With
//! `--failing` there are five, and the first four are refused for good, each in its own way.
//! A prompt with a line such as `[call Shell {"command":"date"}]` makes it call that tool.

use std::{error::Error, io::Write as _, net::SocketAddr};

use kmi_proxy::demo::{Act, Scenario, StandIn, When, errors};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut listen: SocketAddr = ([127, 0, 0, 1], 0).into();
    let mut scenario = Scenario::demo();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--listen" => listen = args.next().ok_or("--listen needs an address")?.parse()?,
            "--healthy" => scenario = Scenario::healthy(7),
            "--failing" => scenario = failing(),
            other => return Err(format!("unknown argument {other:?}").into()),
        }
    }
    let stand_in = StandIn::start_on(listen, scenario).await?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", stand_in.base_url())?;
    for key in &stand_in.scenario().keys {
        writeln!(out, "{}", key.secret)?;
    }
    out.flush()?;
    tokio::signal::ctrl_c().await?;
    stand_in.stop().await;
    Ok(())
}

/// Five keys: dead, out of the week's quota, too many requests at once, too many requests, well.
fn failing() -> Scenario {
    let refusals =
        [errors::KEY_INVALID, errors::WEEK_SPENT, errors::CONCURRENCY, errors::TOO_MANY_REQUESTS];
    let refusals = refusals.into_iter().enumerate();
    refusals.fold(Scenario::healthy(5), |scenario, (key, refusal)| {
        scenario.with_fault(key, When::Always, Act::Error(refusal))
    })
}
