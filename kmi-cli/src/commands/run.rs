//! `kmi run`: a client, and the proxy it needs.

use std::process::ExitCode;

use anyhow::Context as _;
use kmi_proxy::{
    control::{self, CallError, Reply, Request},
    engine::Engine,
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
    let code = serve::runtime()?.block_on(async {
        match running(&config)? {
            Some(listen) => launch(context, args, &config, listen).await,
            None => beside(context, args, &config).await,
        }
    })?;
    Ok(ExitCode::from(code))
}

/// Where the running proxy listens.
fn running(config: &Config) -> anyhow::Result<Option<std::net::SocketAddr>> {
    match control::call(&config.home.socket(), &Request::Status) {
        Ok(Reply::Status(status)) => {
            let listen =
                status.snapshot.proxy.listen.context("the running proxy does not listen")?;
            Ok(Some(listen.parse()?))
        }
        Ok(reply) => Err(desk::unexpected(&reply)),
        Err(CallError::NotRunning) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Runs a proxy in this process for as long as the client runs.
async fn beside(context: &Context<'_>, args: &RunArgs, config: &Config) -> anyhow::Result<u8> {
    let engine = engine(context, config).await?;
    let code = launch(context, args, config, engine.address()).await;
    engine.stop().await?;
    code
}

/// The configured address may be another home's; for a client of our own any port will do.
async fn engine(context: &Context<'_>, config: &Config) -> anyhow::Result<Engine> {
    let taken = config.settings.proxy.listen.port() != 0
        && std::net::TcpListener::bind(config.settings.proxy.listen).is_err();
    if !taken {
        return serve::start(context, config, &[]).await;
    }
    let mut listen = config.settings.proxy.listen;
    listen.set_port(0);
    let flags = [Flag { key: "proxy.listen", option: "kmi run", value: listen.to_string() }];
    let config = crate::config::load(context.global, &flags, context.env)?;
    serve::start(context, &config, &flags).await
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
