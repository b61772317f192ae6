//! `kmi env`: the environment that `kmi run` sets, written down.

use std::process::ExitCode;

use super::Context;
use crate::{
    args::{EnvArgs, Shell},
    client_env::{self, Endpoint},
    desk,
    report::{Failure, USAGE},
};

pub(super) fn run(context: &Context<'_>, args: &EnvArgs) -> anyhow::Result<ExitCode> {
    let config = context.load(&[])?;
    // The running proxy may listen elsewhere than the configuration says by now.
    let running = desk::listening(&config)?;
    let listen = running.unwrap_or(config.settings.proxy.listen);
    if listen.port() == 0 {
        return Err(Failure::new(
            "proxy.listen has port 0: only a running proxy knows its address",
            "start one with `kmi serve`, set a fixed port, or use `kmi run`",
        )
        .code(USAGE)
        .into());
    }
    let endpoint = Endpoint {
        listen,
        base_path: &config.settings.proxy.base_path,
        token: &config.home.token()?,
    };
    let model = client_env::model_name(None, None, &config.client, context.env);
    let variables = client_env::variables(&endpoint, model.as_deref(), context.env);
    let shell = if context.output.json() { Shell::Json } else { args.shell };
    context.output.raw(&client_env::write(&variables, shell)?)?;
    if running.is_none() {
        context.output.note("no proxy runs on this home yet: `kmi serve` starts one");
    }
    Ok(ExitCode::SUCCESS)
}
