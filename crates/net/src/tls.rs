//! Connections over TLS.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error as RustlsError, RootCertStore, SignatureScheme};

use crate::{Dial, Dialled, Dialling};

/// How connections are secured (upstream `tls.client.*`): versions 1.2 and 1.3.
///
/// ```
/// use apogee_net::Tls;
///
/// let of_the_system = Tls::new();
/// let of_the_house = Tls::new().roots("ca.pem").identity("client.pem", "client.key").server_name("brokers.example");
/// # let _ = (of_the_system, of_the_house);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    roots: Roots,
    identity: Option<(PathBuf, PathBuf)>,
    server_name: Option<String>,
}

/// Whose word is taken for who a server is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Roots {
    #[default]
    System,
    File(PathBuf),
    /// Anybody's.
    Unverified,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not what it should be.
    #[error("cannot read {what} from {path}: {reason}")]
    File {
        /// What should be in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has no certificates of authorities.
    #[error("the system has no root certificates ({0}): name a file with those that servers are to be verified by")]
    NoRoots(String),
    /// Something does not fit together.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] RustlsError),
    /// A name that no server can have.
    #[error("{0:?} is no name of a server")]
    Name(String),
}

impl Tls {
    /// Servers are verified by the system's root certificates, and by the host's name or address that is connected to.
    pub fn new() -> Self {
        Self::default()
    }

    /// Servers are verified by the certificates of a PEM file instead (upstream `tls.client.trustCertPath`).
    pub fn roots(mut self, file: impl Into<PathBuf>) -> Self {
        self.roots = Roots::File(file.into());
        self
    }

    /// Servers are not verified: what is sent cannot be read by others, but nobody knows to whom it is sent. The
    /// Java client's default (`tls.client.authServer=false`), for servers with a certificate that they made themselves.
    pub fn unverified(mut self) -> Self {
        self.roots = Roots::Unverified;
        self
    }

    /// Shows servers who this is: PEM files with the certificate, those that it is signed by behind it, and its private key
    /// (upstream `tls.client.certPath`, `tls.client.keyPath`; not encrypted).
    pub fn identity(mut self, certificates: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity = Some((certificates.into(), key.into()));
        self
    }

    /// The name that servers' certificates are for, instead of the host's: all brokers of a cluster may have the same.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Secures what `dial` connects. Reads the files: later changes of them are not seen.
    ///
    /// # Errors
    /// When a file cannot be read, or is not what it should be.
    pub fn over(&self, dial: Arc<dyn Dial>) -> Result<impl Dial + use<>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = match &self.roots {
            Roots::Unverified => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))),
            Roots::System => builder.with_webpki_verifier(verifier(system_roots()?, provider)?),
            Roots::File(path) => builder.with_webpki_verifier(verifier(roots_of(path)?, provider)?),
        };
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificates, key)) => {
                let what = "a private key";
                let private = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::File {
                    what,
                    path: key.clone(),
                    reason: error.to_string(),
                })?;
                builder.with_client_auth_cert(certificates_of(certificates)?, private)?
            }
        };
        let name = self.server_name.as_ref().map(|name| server_name(name)).transpose()?;
        Ok(TlsDial { dial, connector: TlsConnector::from(Arc::new(config)), name })
    }
}

fn verifier(roots: RootCertStore, provider: Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| TlsError::Setup(RustlsError::General(error.to_string())))
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))
}

fn certificates_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |reason| TlsError::File { what: "certificates", path: path.to_owned(), reason };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(failed("there is none in it".to_owned())),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn roots_of(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates_of(path)? {
        roots.add(certificate).map_err(|error| {
            let (what, path) = ("certificates", path.to_owned());
            TlsError::File { what, path, reason: error.to_string() }
        })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some of a system's are of kinds that nobody uses any more.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoRoots(if reasons.is_empty() { "none found".to_owned() } else { reasons.join("; ") }));
    }
    Ok(roots)
}

/// Secures what another connects.
struct TlsDial {
    dial: Arc<dyn Dial>,
    connector: TlsConnector,
    name: Option<ServerName<'static>>,
}

impl Dial for TlsDial {
    fn dial<'d>(&'d self, address: &'d str) -> Dialling<'d> {
        Box::pin(async move {
            let name = match &self.name {
                Some(name) => name.clone(),
                None => server_name(host_of(address)).map_err(io::Error::other)?,
            };
            let Dialled { stream, peer, local } = self.dial.dial(address).await?;
            let secured = self.connector.connect(name, stream).await;
            let stream = secured.map_err(|error| io::Error::new(error.kind(), format!("TLS failed: {error}")))?;
            Ok(Dialled { stream: Box::new(stream), peer, local })
        })
    }
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Takes anybody's word; signatures are verified all the same.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tcp;

    #[test]
    fn the_host_is_what_is_before_the_port() {
        assert_eq!(["a.b:1", "[::1]:1", "127.0.0.1:9876"].map(host_of), ["a.b", "::1", "127.0.0.1"]);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        let told = |tls: Tls| tls.over(Arc::new(Tcp)).err().expect("refused").to_string();
        assert!(
            told(Tls::new().roots(&file)).starts_with(&format!("cannot read certificates from {}", file.display()))
        );
        std::fs::write(&file, "nothing").expect("written");
        assert!(told(Tls::new().roots(&file)).ends_with("there is none in it"));
        assert!(told(Tls::new().unverified().identity(&file, &file)).contains("cannot read a private key"));
        let name = told(Tls::new().unverified().server_name("a b"));
        assert_eq!(name, "\"a b\" is no name of a server");
    }
}
