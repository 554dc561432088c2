//! What a new cluster has before anybody asks: its built-in namespaces.

use pintle_api::status::StatusError;
use serde_json::json;

use crate::ApiServer;
use crate::lifecycle::BUILTIN_NAMESPACES;
use crate::user::User;
use crate::verbs::WriteOptions;

impl ApiServer {
    /// Creates what is missing. Run it at every start, before serving.
    pub async fn bootstrap(&self) -> Result<(), StatusError> {
        self.verbs.adopt_claims(self.registry).await?;
        let Some(namespaces) = self.registry.by_plural("", "v1", "namespaces") else {
            return Ok(());
        };
        let user = User::system("system:apiserver");
        for name in BUILTIN_NAMESPACES {
            let namespace = json!({"metadata": {"name": name}});
            match self
                .verbs
                .create(&user, namespaces, "", namespace, &WriteOptions::default())
                .await
            {
                Ok(_) => tracing::info!(namespace = name, "created built-in namespace"),
                Err(error) if error.is_already_exists() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
