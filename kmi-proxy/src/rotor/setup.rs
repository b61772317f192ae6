//! What a rotor is made of.

use crate::{
    keys::{EnvKey, Variables},
    settings::Settings,
};

/// What a rotor is made of, and made of again at a reload.
#[derive(Clone)]
pub struct Setup {
    /// The settings.
    pub settings: Settings,
    /// Keys of the environment.
    pub env_keys: Vec<EnvKey>,
    /// Where `api_key_env` looks.
    pub variables: Variables,
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { settings, env_keys, variables: _ } = self;
        f.debug_struct("Setup")
            .field("settings", settings)
            .field("env_keys", env_keys)
            .finish_non_exhaustive()
    }
}
