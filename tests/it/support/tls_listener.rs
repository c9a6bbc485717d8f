//! TLS for servers inside the test process.

use std::{io, net::SocketAddr, sync::Arc};

use axum::serve::Listener;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig, server::TlsStream};

use super::pki::Identity;

/// Accepts TLS connections; a handshake that fails or stalls holds up no other.
pub struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl TlsListener {
    /// Serves this certificate; to be called within the runtime.
    pub fn new(listener: TcpListener, identity: &Identity) -> Self {
        let acceptor = acceptor(identity);
        let address = listener.local_addr().expect("bound");
        let (sender, ready) = mpsc::channel(16);
        tokio::spawn(async move {
            loop {
                // It ends with the last listener, not with the first connection that fails.
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = sender.closed() => return,
                };
                let Ok((stream, peer)) = accepted else {
                    continue;
                };
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = sender.send((stream, peer)).await;
                    }
                });
            }
        });
        Self { address, ready }
    }
}

fn acceptor(identity: &Identity) -> TlsAcceptor {
    let certificate = CertificateDer::from(identity.certificate_der.clone());
    let key = PrivatePkcs8KeyDer::from(identity.key_der.clone());
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .expect("a certificate with its key");
    TlsAcceptor::from(Arc::new(config))
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
