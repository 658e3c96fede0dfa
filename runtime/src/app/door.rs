//! The API's door: where it listens, what it shows over TLS, and whose tokens it takes. All of it is tried before anything else is
//! started, so that a setting that cannot be used is told at once. Who is let in is `api/auth.rs`'s to say.

use std::sync::Arc;

use tokio::net::TcpListener;

use super::bind;
use crate::api::{self, Anonymous, Api, Issuer};
use crate::config::Config;
use crate::stop::Stop;
use crate::tls::certificates::Certificates;

pub(super) struct Door {
    listener: TcpListener,
    certificates: Option<Arc<Certificates>>,
    issuer: Option<Arc<Issuer>>,
}

impl Door {
    /// Listens, unless that would let everybody in without anybody having said so.
    pub(super) async fn open(config: &Config) -> anyhow::Result<Self> {
        let everybody = config.auth.anonymous == Anonymous::Always && !config.auth.trusted_network;
        anyhow::ensure!(
            config.listen.ip().is_loopback() || !everybody,
            "auth.anonymous is \"always\" and {} is open to other machines: whoever reaches it could do everything; \
             make keys instead (`longshore keys create`), or set auth.trusted_network = true if you trust them all",
            config.listen
        );
        let certificates = Certificates::of(&config.api.tls.cert, &config.api.tls.key)?;
        let issuer = Issuer::of(&config.auth.oidc)?;
        Ok(Self { listener: bind(config.listen).await?, certificates, issuer })
    }

    /// Serves until the end.
    pub(super) async fn serve(self, api: Api, config: &Config, stop: &Stop) -> anyhow::Result<()> {
        let tls = self.certificates.as_ref().map(Certificates::acceptor).transpose()?;
        self.certificates.iter().for_each(|certificates| certificates.watch(stop));
        tracing::info!(address = %self.listener.local_addr()?, tls = tls.is_some(), "serving");
        let router = api::router(Arc::new(api.with_issuer(self.issuer)));
        Ok(api::serve(self.listener, router, &config.api, tls, stop.token()).await?)
    }
}
