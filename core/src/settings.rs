//! The settings in force: what the operator gave, and what was changed at run time.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::command::{Outcome, Write};
use crate::config::Config;
use crate::context::Context;
use crate::event::CallId;
use crate::http::error::{ErrorKind, HttpError};
use crate::http::respond::Answer;
use crate::http::settings::patch_config;
use crate::journal::rows::SETTINGS_KEY;
use crate::pending::Pending;

/// What is in force, and changes that are being written.
#[derive(Debug)]
pub(crate) struct Settings {
    config: Arc<Config>,
    /// All changes at run time, as one partial config.
    changes: Map<String, Value>,
    proposed: Vec<(CallId, Config, Map<String, Value>)>,
}

impl Settings {
    /// What the operator gave, and the journal's changes on top of it. A change that no longer fits is left out.
    pub(crate) fn restore(config: Config, row: Option<Bytes>) -> Settings {
        let changes: Map<String, Value> = row.and_then(|row| serde_json::from_slice(&row).ok()).unwrap_or_default();
        let body = serde_json::to_vec(&changes).expect("JSON always encodes");
        let config = patch_config(&config, &body).unwrap_or(config);
        Settings { config: Arc::new(config), changes, proposed: Vec::new() }
    }

    /// The settings in force.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The settings in force, to hold on to for a step.
    pub(crate) fn config_shared(&self) -> Arc<Config> {
        self.config.clone()
    }

    /// Someone wants a change. It is in force when it is durable.
    ///
    /// # Errors
    /// It is not valid, or cannot be changed at run time.
    pub(crate) fn propose(&mut self, call: CallId, body: &[u8], cx: &mut Context<'_>) -> Result<(), HttpError> {
        let config = patch_config(&self.config, body)?;
        let patch: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        let mut changes = self.changes.clone();
        changes.extend(patch);
        let json = serde_json::to_vec(&changes).expect("JSON always encodes");
        cx.save(vec![Write::Put(Bytes::from_static(SETTINGS_KEY), json.into())], Pending::SaveSettings { call });
        self.proposed.push((call, config, changes));
        Ok(())
    }

    /// A change's save ended.
    pub(crate) fn saved(&mut self, call: CallId, outcome: &Outcome) -> Answer {
        let at = self.proposed.iter().position(|(who, ..)| *who == call).expect("a change is saved once");
        let (_, config, changes) = self.proposed.remove(at);
        if *outcome != Outcome::Saved {
            let error = HttpError::new(ErrorKind::Unavailable, "the journal failed: nothing is changed, try again");
            return error.answer();
        }
        self.config = Arc::new(config);
        self.changes = changes;
        Answer::json(200, &serde_json::json!({ "success": true, "config": *self.config }))
    }
}
