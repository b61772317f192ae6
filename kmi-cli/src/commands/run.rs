//! `kmi run`: a client, and the proxy it needs.

use std::{process::ExitCode, time::Instant};

use anyhow::Context as _;
use kmi_proxy::{
    control::{Problem, Status},
    engine::{Engine, EngineError},
    server::Order,
};
use tokio::sync::oneshot;

use super::{Context, ending::Ending, serve};
use crate::{
    args::RunArgs,
    client_env::{self, Endpoint},
    config::{Config, ConfigError, Flag},
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
    let code = serve::block_on(serve::runtime()?, async {
        match desk::running(&config)? {
            Some(status) => through(context, args, &config, &status).await,
            None => beside(context, args, &config).await,
        }
    })?;
    Ok(ExitCode::from(code))
}

/// Runs the client with the proxy that runs.
async fn through(
    context: &Context<'_>,
    args: &RunArgs,
    config: &Config,
    status: &Status,
) -> anyhow::Result<u8> {
    if status.transient {
        context.output.warning(
            "the proxy runs inside another command, and ends with it",
            "`kmi serve --detach` starts one that stays",
        );
    }
    launch(context, args, config, desk::address(status)?).await
}

/// Runs a proxy in this process for as long as the client runs.
async fn beside(context: &Context<'_>, args: &RunArgs, config: &Config) -> anyhow::Result<u8> {
    let since = Instant::now();
    let engine = loop {
        let error = match engine(context, config).await? {
            Ok(engine) => break engine,
            Err(error) => error,
        };
        match desk::running(config)? {
            // Somebody else started one in the same moment: that one will do.
            Some(status) => return through(context, args, config, &status).await,
            // It ran a moment ago and is gone: now it is our turn.
            None if serve::is_held(&error) && since.elapsed() < desk::PATIENCE => {}
            None => return Err(serve::failure(error, config)),
        }
    };
    let problems: Vec<Problem> = engine.rotor().problems().iter().map(Problem::from).collect();
    desk::tell(&problems, context.output);
    desk::tell_without_keys(&engine, context.output);
    let (address, orders) = (engine.address(), engine.orders());
    let (client, client_ended) = oneshot::channel::<()>();
    // Awaited all the while: so `kmi stop` can end it before the client ends.
    let serving = tokio::spawn(engine.wait_or_cut(async move {
        let _ = client_ended.await;
        signalled().await;
    }));
    let code = launch(context, args, config, address).await;
    let _ = orders.send(Order::Stop);
    drop(client);
    serving.await.context("the proxy failed")??;
    code
}

/// While the client runs, signals are the client's; after that they end the waiting for others.
async fn signalled() {
    match Ending::new() {
        Ok(mut ending) => drop(ending.next().await),
        Err(_) => std::future::pending().await,
    }
}

/// The configured address may be another home's; for a client of our own any port will do.
async fn engine(
    context: &Context<'_>,
    config: &Config,
) -> Result<Result<Engine, EngineError>, ConfigError> {
    let started = serve::start(context, config, &[], None).await;
    let mut listen = config.settings.proxy.listen;
    if listen.port() == 0 || !matches!(started, Err(EngineError::Listen { .. })) {
        return Ok(started);
    }
    context.output.detail(format_args!("{listen} is taken; any other port will do"));
    listen.set_port(0);
    let flags = [Flag { key: "proxy.listen", option: "kmi run", value: listen.to_string() }];
    let config = crate::config::load(context.global.given(&flags), context.env)?;
    Ok(serve::start(context, &config, &flags, None).await)
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
