//! `kmi trace head`: a signed checkpoint to keep elsewhere.

use std::process::ExitCode;

use kmi_core::trace::ChainHash;
use kmi_proxy::ledger::Reader;
use serde::Serialize;

use crate::{args::HeadArgs, commands::Context, config::Config};

#[derive(Serialize)]
struct HeadJson<'a> {
    count: u64,
    head: &'a str,
    checkpoint: &'a str,
    public_key: &'a str,
}

pub(super) fn run(
    context: &Context<'_>,
    config: &Config,
    args: &HeadArgs,
) -> anyhow::Result<ExitCode> {
    // First the ledger: where there is none, no key is made either.
    let (count, head) =
        Reader::open(config.home.state_dir())?.head()?.unwrap_or((0, ChainHash::START));
    let signer = config.home.signer()?;
    let public_key = signer.public_key().to_string();
    let checkpoint = signer.sign(count, &head);
    let (head, checkpoint, public_key) = (head.as_str(), &*checkpoint, &*public_key);
    if context.output.json() {
        context.output.data_json(&HeadJson { count, head, checkpoint, public_key })?;
    } else if args.public_key {
        context.output.data(public_key)?;
    } else {
        context.output.raw(checkpoint)?;
        context.output.note(
            "keep it where this machine cannot change it; `kmi verify --checkpoint FILE` compares",
        );
    }
    Ok(ExitCode::SUCCESS)
}
