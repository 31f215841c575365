//! Certificates by server name, and both directions' TLS settings.

use std::{collections::HashMap, fmt, sync::Arc};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};

use crate::{Error, table::Served};

/// Certificates by server name.
#[derive(Default)]
pub(crate) struct Certificates {
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// Keyed by what follows `*.`.
    wildcard: HashMap<Box<str>, Arc<CertifiedKey>>,
}

/// Chooses the certificate for a handshake from the table that is served at that moment.
#[derive(Debug)]
struct Resolver {
    served: Arc<Served>,
    fallback: Arc<CertifiedKey>,
}

// === impl Certificates ===

impl Certificates {
    /// Serves `certificate` for `host` (`*.example.org` for a wildcard). The first one for a host stays.
    pub(crate) fn add(&mut self, host: &str, certificate: &Arc<CertifiedKey>) {
        let (map, name) = match host.strip_prefix("*.") {
            Some(suffix) => (&mut self.wildcard, suffix),
            None => (&mut self.exact, host),
        };
        map.entry(name.to_ascii_lowercase().into()).or_insert_with(|| certificate.clone());
    }

    /// The certificate for a server name, exact before wildcard (one label).
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let wildcard = || name.split_once('.').and_then(|(_, suffix)| self.wildcard.get(suffix));
        self.exact.get(name).or_else(wildcard)
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("exact", &self.exact.len()).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.served.load();
        // rustls gives the name in lower case.
        let own = hello.server_name().and_then(|name| table.certificates.find(name).cloned());
        Some(own.unwrap_or_else(|| self.fallback.clone()))
    }
}

/// A certificate from the two fields of a `kubernetes.io/tls` Secret.
///
/// # Errors
/// A sentence that names what is wrong, never key material.
pub(crate) fn certified_key(certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|_| "tls.crt is not a PEM certificate chain".to_owned())?;
    if chain.is_empty() {
        return Err("tls.crt has no certificate".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "tls.key is not a PEM private key".to_owned())?;
    let certified = CertifiedKey::from_der(chain, key, &provider())
        .map_err(|error| format!("tls.crt and tls.key do not fit together: {error}"))?;
    Ok(certified)
}

/// The server side: HTTP/2 and HTTP/1.1, certificates from `served`.
pub(crate) fn server_config(served: Arc<Served>, own: Option<&(String, String)>) -> Result<ServerConfig, Error> {
    let fallback = match own {
        Some((certificate, key)) => certified_key(certificate.as_bytes(), key.as_bytes())
            .map_err(|reason| Error::Tls(rustls::Error::General(reason)))?,
        None => self_signed()?,
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Resolver { served, fallback: Arc::new(fallback) }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = ring::Ticketer::new().map_err(Error::Tls)?;
    Ok(config)
}

/// The backend side (`backend-protocol: HTTPS`). Pods serve self-signed certificates or such for names the edge cannot
/// know; as with ingress-nginx the connection is encrypted and the peer is whoever has the pod's address.
pub(crate) fn upstream_config() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(provider());
    Ok(ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth())
}

fn provider() -> CryptoProvider {
    ring::default_provider()
}

fn self_signed() -> Result<CertifiedKey, Error> {
    let key = KeyPair::generate().map_err(Error::DefaultCertificate)?;
    let params = CertificateParams::new(vec!["localhost".to_owned(), "ingress.local".to_owned()])
        .map_err(Error::DefaultCertificate)?;
    let certificate = params.self_signed(&key).map_err(Error::DefaultCertificate)?;
    certified_key(certificate.pem().as_bytes(), key.serialize_pem().as_bytes())
        .map_err(|reason| Error::Tls(rustls::Error::General(reason)))
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
