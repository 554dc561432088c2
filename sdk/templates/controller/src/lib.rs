//! Deletes ConfigMaps when the time that they were given is over.
//!
//! Watches ConfigMaps. One with the annotation `{{name}}/ttl-seconds` is deleted so many
//! seconds after it was created; until then the controller asks to be called again in
//! time. A value that makes no sense is answered with an Event, once.
//!
//! Config (all optional): `maxTtlSeconds` (86400).

use pintle_sdk::prelude::*;

/// What people write on a ConfigMap.
pub const TTL: &str = "{{name}}/ttl-seconds";

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// The longest time that anybody may ask for.
    pub max_ttl_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { max_ttl_seconds: 86_400 }
    }
}

pub struct Plugin {
    config: Config,
}

impl Controller for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        match config.max_ttl_seconds {
            0 => Err("spec.config.maxTtlSeconds: must be at least 1".to_owned()),
            _ => Ok(Plugin { config }),
        }
    }

    fn describe(&self) -> Description {
        Description::new(
            pintle_sdk::manifest!()
                .needs(CONFIG_MAP, &["get", "watch", "delete"], "deletes ConfigMaps whose time is over")
                .needs(EVENT, &["create"], "says so"),
        )
        .watch(
            Watch::of(CONFIG_MAP)
                .on(Change::ADDED.or(Change::MODIFIED))
                .having("metadata.annotations")
                .when_changed(&["metadata.annotations"]),
        )
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let mut outcome = Outcome::done();
        let Some(map) = request.read::<ConfigMap>(lister)? else { return Ok(outcome) };
        let Some(text) = map.metadata.annotations.get(TTL) else { return Ok(outcome) };
        if map.metadata.is_being_deleted() {
            return Ok(outcome);
        }
        let ttl_seconds = match text.parse::<u64>() {
            Ok(seconds) => seconds.min(self.config.max_ttl_seconds),
            Err(_) => {
                let note = format!("annotation {TTL}: `{text}` is not a number of seconds");
                outcome.push(Event::warning(&map, "BadTimeToLive", note));
                return Ok(outcome);
            }
        };
        let age_ms = context.since(map.metadata.creation_timestamp.as_deref()).unwrap_or(0);
        let left_ms = (ttl_seconds * 1000).saturating_sub(age_ms.max(0).unsigned_abs());
        if left_ms > 0 {
            outcome.requeue_after(left_ms);
            return Ok(outcome);
        }
        log::info!("{} is {} s old: deleted", map.reference, age_ms / 1000);
        outcome.push(Event::normal(&map, "Expired", format!("it was given {ttl_seconds} seconds")));
        outcome.push(Delete::this(&map));
        Ok(outcome)
    }
}

pintle_sdk::export_controller!(Plugin);
