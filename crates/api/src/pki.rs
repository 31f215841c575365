//! The cluster's own certificate authority, the certificates it signs, and the key of service account tokens.
//!
//! Everything stands as PEM in one directory of mode 0700, private keys in files of mode 0600. A certificate that ends within
//! [`RENEW_BEFORE`], or that no longer fits the configured names, is made anew at start with a new key; the authority and the
//! token key stay.

use std::{
    fs, io,
    io::Write,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Remaining validity below which a certificate is renewed.
pub const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const LEAF_VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why keys and certificates are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file could not be read or written.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should; remove it to have it made anew.
    #[error("{} is damaged ({what}); restore it, or remove it to have a new one made", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A key or certificate could not be made.
    #[error("cannot make {what}")]
    Make {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
}

/// A certificate with its key, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// The cluster's keys and certificates.
pub struct Pki {
    ca: Identity,
    server: Identity,
    admin: Identity,
    token_key: String,
}

/// Names and addresses in the server's certificate.
#[derive(Clone, Debug)]
pub struct Names {
    /// DNS names.
    pub dns: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

impl Names {
    /// What every cluster needs, and what is configured besides.
    pub fn new(domain: &str, service_ip: Ipv4Addr, advertise: Ipv4Addr, extra: &[String]) -> Self {
        let mut dns: Vec<String> =
            ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned).to_vec();
        dns.push(format!("kubernetes.default.svc.{domain}"));
        let mut addresses: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into()];
        for address in [IpAddr::from(service_ip), IpAddr::from(advertise)] {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        for name in extra {
            match name.parse::<IpAddr>() {
                Ok(address) if !addresses.contains(&address) => addresses.push(address),
                Ok(_) => {}
                Err(_) if !dns.contains(name) => dns.push(name.clone()),
                Err(_) => {}
            }
        }
        Self { dns, addresses }
    }
}

// === impl Pki ===

impl Pki {
    /// Opens the directory, makes what is missing and renews what ends soon.
    ///
    /// # Errors
    ///
    /// [`PkiError::Damaged`] rather than silently replacing a file that somebody may be able to restore.
    pub fn open(dir: &Path, names: &Names) -> Result<Self, PkiError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| PkiError::File {
            operation: "create",
            path: dir.to_owned(),
            source,
        })?;
        let ca = match load(dir, "ca")? {
            Some(ca) => ca,
            None => store(dir, "ca", make_ca()?)?,
        };
        let issuer = issuer(dir, &ca)?;
        let wanted = |certificate: &X509Certificate<'_>| covers(certificate, names);
        let server = leaf(dir, "server", &wanted, || make_server(&issuer, names))?;
        let admin = leaf(dir, "admin", &|_| true, || make_client(&issuer, "admin", &["system:masters"]))?;
        let token_path = dir.join("service-account.key");
        let token_key = match read(&token_path)? {
            Some(key) => key,
            None => {
                let key = new_key()?.serialize_pem();
                write_private(&token_path, &key)?;
                key
            }
        };
        Ok(Self { ca, server, admin, token_key })
    }

    /// The authority's certificate, PEM.
    pub fn ca_certificate(&self) -> &str {
        &self.ca.certificate
    }

    /// The server's certificate.
    pub fn server(&self) -> &Identity {
        &self.server
    }

    /// The administrator's client certificate (CN `admin`, O `system:masters`).
    pub fn admin(&self) -> &Identity {
        &self.admin
    }

    /// The private key of service account tokens, PEM (PKCS #8, P-256).
    pub fn token_key(&self) -> &str {
        &self.token_key
    }

    /// A client certificate, for a node or another component; valid for a year.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<Identity, PkiError> {
        make_client(&issuer(Path::new("ca"), &self.ca)?, user, groups)
    }

    /// A kubeconfig for the administrator.
    pub fn kubeconfig(&self, cluster_name: &str, server_url: &str) -> String {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let (cluster, user, context) =
            (quoted(cluster_name), quoted(&format!("{cluster_name}-admin")), quoted(cluster_name));
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: {cluster}\n  cluster:\n    server: {}\n    \
             certificate-authority-data: {}\nusers:\n- name: {user}\n  user:\n    client-certificate-data: {}\n    \
             client-key-data: {}\ncontexts:\n- name: {context}\n  context:\n    cluster: {cluster}\n    user: {user}\n\
             current-context: {context}\n",
            quoted(server_url),
            STANDARD.encode(&self.ca.certificate),
            STANDARD.encode(&self.admin.certificate),
            STANDARD.encode(&self.admin.key),
        )
    }

    /// TLS for the server: its certificate, and clients' certificates checked where they show one.
    pub fn server_config(&self) -> Result<rustls::ServerConfig, PkiError> {
        let damaged = |what: String| PkiError::Damaged { path: "server certificate".into(), what };
        let certificates: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(format!("{}{}", self.server.certificate, self.ca.certificate).as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|error| damaged(error.to_string()))?;
        let key =
            PrivateKeyDer::from_pem_slice(self.server.key.as_bytes()).map_err(|error| damaged(error.to_string()))?;
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca.certificate.as_bytes())
            .map_err(|error| damaged(error.to_string()))?;
        roots.add(ca).map_err(|error| damaged(error.to_string()))?;
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|error| damaged(error.to_string()))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| damaged(error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates, key)
            .map_err(|error| damaged(error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn covers(certificate: &X509Certificate<'_>, names: &Names) -> bool {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return false };
    let listed = &extension.value.general_names;
    let dns = |name: &String| listed.iter().any(|g| matches!(g, GeneralName::DNSName(dns) if dns == name));
    let address = |address: &IpAddr| {
        let octets = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        listed.iter().any(|g| matches!(g, GeneralName::IPAddress(bytes) if *bytes == octets))
    };
    names.dns.iter().all(dns) && names.addresses.iter().all(address)
}

fn leaf(
    dir: &Path,
    name: &str,
    fits: &dyn Fn(&X509Certificate<'_>) -> bool,
    make: impl FnOnce() -> Result<Identity, PkiError>,
) -> Result<Identity, PkiError> {
    if let Some(identity) = load(dir, name)? {
        let path = dir.join(format!("{name}.crt"));
        let damaged = |what: String| PkiError::Damaged { path: path.clone(), what };
        let der =
            CertificateDer::from_pem_slice(identity.certificate.as_bytes()).map_err(|e| damaged(e.to_string()))?;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|e| damaged(e.to_string()))?;
        let left = certificate.validity().time_to_expiration().unwrap_or_default();
        if left.whole_seconds() > RENEW_BEFORE.as_secs() as i64 && fits(&certificate) {
            return Ok(identity);
        }
    }
    store(dir, name, make()?)
}

fn new_key() -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|source| PkiError::Make { what: "a key", source })
}

fn params(common_name: &str, validity: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = SystemTime::now();
    // Clocks of clients may be a little behind.
    params.not_before = (now - Duration::from_secs(300)).into();
    params.not_after = (now + validity).into();
    params
}

fn make_ca() -> Result<Identity, PkiError> {
    let key = new_key()?;
    let mut params = params("lotse-ca", CA_VALIDITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let certificate =
        params.self_signed(&key).map_err(|source| PkiError::Make { what: "the authority's certificate", source })?;
    Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn make_server(issuer: &Issuer<'_, KeyPair>, names: &Names) -> Result<Identity, PkiError> {
    let failed = |source| PkiError::Make { what: "the server's certificate", source };
    let mut params = params("lotse-apiserver", LEAF_VALIDITY);
    for name in &names.dns {
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(failed)?));
    }
    params.subject_alt_names.extend(names.addresses.iter().map(|address| SanType::IpAddress(*address)));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = new_key()?;
    let certificate = params.signed_by(&key, issuer).map_err(failed)?;
    Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn make_client(issuer: &Issuer<'_, KeyPair>, user: &str, groups: &[&str]) -> Result<Identity, PkiError> {
    let mut params = params(user, LEAF_VALIDITY);
    for group in groups {
        params.distinguished_name.push(DnType::OrganizationName, *group);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = new_key()?;
    let certificate =
        params.signed_by(&key, issuer).map_err(|source| PkiError::Make { what: "a client certificate", source })?;
    Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn issuer(dir: &Path, ca: &Identity) -> Result<Issuer<'static, KeyPair>, PkiError> {
    let damaged = |error: rcgen::Error| PkiError::Damaged { path: dir.join("ca.key"), what: error.to_string() };
    let key = KeyPair::from_pem(&ca.key).map_err(damaged)?;
    Issuer::from_ca_cert_pem(&ca.certificate, key).map_err(damaged)
}

fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::File { operation: "read", path: path.to_owned(), source }),
    }
}

fn load(dir: &Path, name: &str) -> Result<Option<Identity>, PkiError> {
    let (certificate, key) = (read(&dir.join(format!("{name}.crt")))?, read(&dir.join(format!("{name}.key")))?);
    // The key is written first: a certificate without its key is not something that a crash leaves behind.
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(Identity { certificate, key })),
        (Some(_), None) => {
            Err(PkiError::Damaged { path: dir.join(format!("{name}.key")), what: "the key is missing".to_owned() })
        }
        (None, _) => Ok(None),
    }
}

fn store(dir: &Path, name: &str, identity: Identity) -> Result<Identity, PkiError> {
    // Key and certificate must fit each other after a crash as well: the old certificate goes first.
    let certificate = dir.join(format!("{name}.crt"));
    match fs::remove_file(&certificate) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(PkiError::File { operation: "remove", path: certificate, source });
        }
        _ => {}
    }
    write_private(&dir.join(format!("{name}.key")), &identity.key)?;
    write_private(&certificate, &identity.certificate)?;
    Ok(identity)
}

/// Writes a file that only the owner can read, whole or not at all.
fn write_private(path: &Path, text: &str) -> Result<(), PkiError> {
    let temporary = path.with_extension("tmp");
    let failed = |operation| {
        let path = path.to_owned();
        move |source| PkiError::File { operation, path, source }
    };
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed("create"))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write"))?;
    fs::rename(&temporary, path).map_err(failed("rename"))
}
