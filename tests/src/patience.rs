//! Waiting that always ends.

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// The result of `work`, or an error when it takes too long.
pub async fn in_time<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| anyhow::anyhow!("it takes too long"))
}

/// Looks again and again until it is so; gives the time that it took.
pub async fn eventually(
    mut is_so: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<Duration> {
    let start = Instant::now();
    while !is_so().await? {
        anyhow::ensure!(start.elapsed() < PATIENCE, "it does not come to pass");
        tokio::time::sleep(PAUSE).await;
    }
    Ok(start.elapsed())
}
