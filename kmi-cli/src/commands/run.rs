//! `kmi run`: a client, and the proxy it needs.

use std::process::ExitCode;

use kmi_proxy::{
    control::Problem,
    engine::{Engine, EngineError},
};

use super::{Context, serve};
use crate::{
    args::RunArgs,
    client_env::{self, Endpoint},
    config::{Config, Flag},
    desk,
};

pub(super) fn run(context: &Context<'_>, args: &RunArgs) -> anyhow::Result<ExitCode> {
    let config = context.load(&[])?;
    if client_env::goes_past(&args.command, context.env) {
        context.output.warning(
            "with a model named on its command line Kimi Code goes past the proxy",
            "leave its `-m` out and name the model as `kmi run --model MODEL -- kimi …`",
        );
    }
    let code = serve::runtime()?.block_on(async {
        match desk::listening(&config)? {
            Some(listen) => launch(context, args, &config, listen).await,
            None => beside(context, args, &config).await,
        }
    })?;
    Ok(ExitCode::from(code))
}

/// Runs a proxy in this process for as long as the client runs.
async fn beside(context: &Context<'_>, args: &RunArgs, config: &Config) -> anyhow::Result<u8> {
    let engine = match engine(context, config).await {
        Ok(engine) => engine,
        // Somebody else started one in the same moment: that one will do.
        Err(error) => match desk::listening(config)? {
            Some(listen) => return launch(context, args, config, listen).await,
            None => return Err(error),
        },
    };
    let problems: Vec<Problem> = engine.rotor().problems().iter().map(Problem::from).collect();
    desk::tell(&problems, context.output);
    let code = launch(context, args, config, engine.address()).await;
    engine.stop().await?;
    code
}

/// The configured address may be another home's; for a client of our own any port will do.
async fn engine(context: &Context<'_>, config: &Config) -> anyhow::Result<Engine> {
    let mut listen = config.settings.proxy.listen;
    match serve::start(context, config, &[]).await {
        Err(EngineError::Listen { .. }) if listen.port() != 0 => {
            context.output.detail(format_args!("{listen} is taken; any other port will do"));
            listen.set_port(0);
            let listen = listen.to_string();
            let flags = [Flag { key: "proxy.listen", option: "kmi run", value: listen }];
            let config = crate::config::load(context.global, &flags, context.env)?;
            serve::start(context, &config, &flags).await.map_err(|e| serve::failure(e, &config))
        }
        started => started.map_err(|error| serve::failure(error, config)),
    }
}

async fn launch(
    context: &Context<'_>,
    args: &RunArgs,
    config: &Config,
    listen: std::net::SocketAddr,
) -> anyhow::Result<u8> {
    let base_path = &config.settings.proxy.base_path;
    let endpoint = Endpoint { listen, base_path, token: &config.home.token()? };
    let model = client_env::model_name(
        args.model.as_deref(),
        Some(&args.command),
        &config.client,
        context.env,
    );
    let variables = client_env::variables(&endpoint, model.as_deref(), context.env);
    client_env::launch(&args.command, &variables, context.env).await
}
