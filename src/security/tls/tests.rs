//! Handshakes between our client and a real rustls server, and between a real client and ours.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};

use super::*;
use crate::security::Secret;

const V1_CA: &str = include_str!("testdata/v1-ca.crt");
const V1_SERVER: &str = include_str!("testdata/v1-server.crt");
const V1_KEY: &str = include_str!("testdata/v1-server.key");
const SELF_SIGNED: &str = include_str!("testdata/self-signed.crt");
const SELF_SIGNED_KEY: &str = include_str!("testdata/self-signed.key");
const ENCRYPTED_KEY: &str = include_str!("testdata/encrypted.key");

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, both PEM.
struct Pair(String, String);

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Authority {
        pem,
        issuer: Issuer::new(params, key),
    }
}

impl Authority {
    fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Pair(cert.pem(), key.serialize_pem())
    }

    fn server(&self) -> Pair {
        self.issue(&["db.example.com", "10.0.0.1"], |_| ())
    }
}

fn pair(cert: &str, key: &str) -> Pair {
    Pair(cert.to_owned(), key.to_owned())
}

fn server_of(pair: &Pair, versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
    let provider = provider();
    let key = pem::certified_key(pair.0.as_bytes(), pair.1.as_bytes(), &provider).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)));
    Arc::new(config)
}

fn tls(mode: TlsMode, ca: Option<&str>) -> ClientTls {
    ClientTls {
        mode,
        ca_pem: ca.map(|pem| pem.as_bytes().to_vec()),
        ..ClientTls::disabled()
    }
}

/// Shakes hands over a real socket and sends a byte each way; tells the client's error in words.
fn connect(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: rustls::pki_types::ServerName<'static>,
) -> Result<ProtocolVersion, String> {
    use io::{Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let limit = Some(Duration::from_secs(20));
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.set_read_timeout(limit).unwrap();
            let mut session = ServerConnection::new(server).unwrap();
            let mut stream = rustls::Stream::new(&mut session, &mut socket);
            let mut byte = [0];
            if stream.read_exact(&mut byte).is_ok() {
                stream.write_all(&byte).unwrap();
            }
            // Reading on keeps an unread byte of the client from resetting our alert away.
            let _ = socket.shutdown(std::net::Shutdown::Write);
            let _ = io::copy(&mut socket, &mut io::sink());
        });
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(limit).unwrap();
        let mut session = ClientConnection::new(client, name).unwrap();
        let mut stream = rustls::Stream::new(&mut session, &mut socket);
        let mut byte = [0];
        stream
            .write_all(b"x")
            .and_then(|()| stream.read_exact(&mut byte))
            .map_err(|e| explain_tls(&e).unwrap_or_else(|| format!("not TLS: {e}")))?;
        Ok(session.protocol_version().unwrap())
    })
}

fn try_mode(tls: &ClientTls, server: &Pair, host: &str) -> Result<(), String> {
    let client = tls.config().unwrap().unwrap();
    let name = tls.name(host).unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let spoken = connect(
            Arc::clone(&client),
            server_of(server, &[version]),
            name.clone(),
        )?;
        assert_eq!(spoken, version.version);
    }
    Ok(())
}

#[test]
fn each_mode_checks_what_libpq_checks() {
    let ca = authority("the authority");
    let other = authority("another authority");
    let server = ca.server();
    let (good, bad) = (Some(ca.pem.as_str()), Some(other.pem.as_str()));
    use TlsMode::{Prefer, Require, VerifyCa, VerifyFull};
    for (mode, authority, host, refused) in [
        (Prefer, None, "elsewhere", None),
        (Prefer, bad, "elsewhere", None),
        (Require, None, "elsewhere", None),
        (Require, good, "elsewhere", None),
        (
            Require,
            bad,
            "db.example.com",
            Some("not issued by an authority"),
        ),
        (VerifyCa, good, "elsewhere", None),
        (
            VerifyCa,
            bad,
            "db.example.com",
            Some("not issued by an authority"),
        ),
        (VerifyFull, good, "db.example.com", None),
        (VerifyFull, good, "10.0.0.1", None),
        (
            VerifyFull,
            good,
            "elsewhere",
            Some("is for db.example.com, 10.0.0.1, not for elsewhere"),
        ),
        (VerifyFull, good, "10.0.0.2", Some("not for 10.0.0.2")),
        (
            VerifyFull,
            bad,
            "db.example.com",
            Some("not issued by an authority"),
        ),
    ] {
        let got = try_mode(&tls(mode, authority), &server, host);
        match (&got, refused) {
            (Ok(()), None) => {}
            (Err(words), Some(part)) if words.contains(part) => {}
            _ => panic!("{mode:?} {host}: {got:?}, wanted {refused:?}"),
        }
    }
    assert!(tls(TlsMode::Disable, good).config().unwrap().is_none());
}

#[test]
fn a_given_server_name_is_verified_instead_of_the_host() {
    let ca = authority("the authority");
    let mut tls = tls(TlsMode::VerifyFull, Some(&ca.pem));
    tls.server_name = Some("db.example.com".to_owned());
    try_mode(&tls, &ca.server(), "10.9.9.9").unwrap();
    tls.server_name = Some("not a name".to_owned());
    assert!(tls.name("db.example.com").is_err());
}

#[test]
fn the_systems_authorities_are_not_enough_for_a_private_one() {
    let server = authority("the authority").server();
    let tls = tls(TlsMode::VerifyCa, None);
    match tls.config() {
        Ok(_) => {
            let words = try_mode(&tls, &server, "db.example.com").unwrap_err();
            assert!(words.contains("tls_ca_file"), "{words}");
        }
        // A machine without authorities says so.
        Err(error) => assert!(error.to_string().contains("tls_ca_file"), "{error}"),
    }
}

#[test]
fn expired_and_premature_certificates_are_refused_by_name() {
    let ca = authority("the authority");
    let expired = ca.issue(&["db.example.com"], |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let early = ca.issue(&["db.example.com"], |params| {
        params.not_before = date_time_ymd(2150, 1, 1);
        params.not_after = date_time_ymd(2160, 1, 1);
    });
    for (server, part) in [(expired, "has expired"), (early, "not valid yet")] {
        for mode in [TlsMode::VerifyCa, TlsMode::VerifyFull] {
            let words = try_mode(&tls(mode, Some(&ca.pem)), &server, "db.example.com").unwrap_err();
            assert!(words.contains(part), "{words}");
        }
        try_mode(&tls(TlsMode::Require, None), &server, "db.example.com").unwrap();
    }
}

#[test]
fn certificates_as_postgresqls_documentation_makes_them_are_taken_by_all_modes() {
    use TlsMode::{Prefer, Require, VerifyCa, VerifyFull};
    for (server, ca) in [
        (pair(V1_SERVER, V1_KEY), V1_CA),
        (pair(SELF_SIGNED, SELF_SIGNED_KEY), SELF_SIGNED),
    ] {
        for (mode, ca) in [
            (Prefer, None),
            (Require, None),
            (Require, Some(ca)),
            (VerifyCa, Some(ca)),
            (VerifyFull, Some(ca)),
        ] {
            try_mode(&tls(mode, ca), &server, "db.example.com")
                .unwrap_or_else(|e| panic!("{mode:?}: {e}"));
        }
        let words = try_mode(&tls(VerifyFull, Some(ca)), &server, "elsewhere").unwrap_err();
        assert!(
            words.contains("is for db.example.com, not for elsewhere"),
            "{words}"
        );
    }
}

#[test]
fn old_certificates_are_refused_when_somebody_else_issued_them() {
    // The name of the true issuer, another key.
    let impostor = authority("Old authority");
    let stranger = authority("a stranger");
    for (server, name) in [
        (pair(V1_SERVER, V1_KEY), "v1"),
        (pair(SELF_SIGNED, SELF_SIGNED_KEY), "self-signed"),
    ] {
        for ca in [&impostor.pem, &stranger.pem] {
            let words = try_mode(&tls(TlsMode::VerifyCa, Some(ca)), &server, "db.example.com");
            assert!(words.is_err(), "{name}");
        }
    }
    let words = try_mode(
        &tls(TlsMode::VerifyCa, Some(&stranger.pem)),
        &pair(V1_SERVER, V1_KEY),
        "db.example.com",
    );
    assert!(words.unwrap_err().contains("not issued by an authority"));
}

#[test]
fn a_shown_certificate_is_worth_nothing_without_its_key() {
    // Otherwise SCRAM's channel binding would take an impostor for the server.
    let ca = authority("the authority");
    let thief = ca.server();
    for stolen in [ca.server().0, V1_SERVER.to_owned()] {
        let provider = provider();
        let chain = pem::certificates(stolen.as_bytes()).unwrap();
        let key = pem::private_key(thief.1.as_bytes()).unwrap();
        let key = provider.key_provider.load_private_key(key).unwrap();
        let false_pair = rustls::sign::CertifiedKey::new(chain, key);
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(false_pair));
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(resolver.clone());
            let tls = tls(TlsMode::Require, None);
            let refused = connect(
                tls.config().unwrap().unwrap(),
                Arc::new(server),
                tls.name("db.example.com").unwrap(),
            );
            assert!(refused.unwrap_err().contains("wrong signature"));
        }
    }
}

#[test]
fn a_common_name_counts_only_without_alternative_names() {
    let ca = authority("the authority");
    let named = |params: &mut CertificateParams| {
        params
            .distinguished_name
            .push(DnType::CommonName, "db.example.com");
    };
    let tls = tls(TlsMode::VerifyFull, Some(&ca.pem));
    try_mode(&tls, &ca.issue(&[], named), "db.example.com").unwrap();
    let words = try_mode(
        &tls,
        &ca.issue(&["else.example.com"], named),
        "db.example.com",
    );
    assert!(words.unwrap_err().contains("else.example.com"));
}

#[test]
fn what_cannot_be_used_is_said_with_what_to_do() {
    let ca = authority("the authority");
    let Pair(cert, key) = ca.server();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let damaged = cert.replacen("MII", "M\0I", 1);
    let (cert_file, key_file) = (file("c", cert.as_bytes()), file("k", key.as_bytes()));
    let der = pem::certificates(cert.as_bytes()).unwrap()[0].to_vec();
    let missing = folder.path().join("missing");
    let load = |ca: Option<&Path>, cert: Option<&Path>, key: Option<&Path>| {
        ClientTls::from_files(TlsMode::VerifyFull, ca, cert, key).map(|_| ())
    };
    load(
        Some(&file("ca", ca.pem.as_bytes())),
        Some(&cert_file),
        Some(&key_file),
    )
    .unwrap();

    for (text, part) in [
        (
            key.as_bytes(),
            "expected a certificate (BEGIN CERTIFICATE), but found BEGIN PRIVATE KEY",
        ),
        (b"".as_slice(), "it is empty"),
        (b"hello", "no PEM at all"),
        (&der, "openssl x509 -inform der"),
        (damaged.as_bytes(), "damaged PEM"),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "cannot be used",
        ),
    ] {
        let path = file("wrong", text);
        let words = load(Some(&path), None, None).unwrap_err().to_string();
        assert!(
            words.starts_with(&format!("{}: ", path.display())),
            "{words}"
        );
        assert!(words.contains(part), "{words}, wanted {part}");
    }
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    for (text, part) in [
        (ENCRYPTED_KEY, "openssl pkey"),
        (other_key.as_str(), "does not belong to the certificate"),
        (
            cert.as_str(),
            "expected a private key (BEGIN PRIVATE KEY), but found BEGIN CERTIFICATE",
        ),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "cannot be used",
        ),
    ] {
        let path = file("wrong.key", text.as_bytes());
        let error = load(None, Some(&cert_file), Some(&path)).unwrap_err();
        let words = error.to_string();
        assert!(
            words.starts_with(&format!("{}: ", path.display())),
            "{words}"
        );
        assert!(words.contains(part), "{words}, wanted {part}");
        let line = text.lines().nth(1).unwrap();
        assert!(!format!("{words}{error:?}").contains(line), "{words}");
    }
    let words = load(Some(&missing), None, None).unwrap_err().to_string();
    assert!(
        words.starts_with("cannot read ") && words.contains("missing"),
        "{words}"
    );
    assert!(load(None, Some(&cert_file), None).is_err());
    assert!(load(None, None, Some(&key_file)).is_err());
}

#[test]
fn debug_output_shows_no_key() {
    let Pair(cert, key) = authority("the authority").server();
    let line = key.lines().nth(1).unwrap().to_owned();
    let mut tls = tls(TlsMode::Require, None);
    tls.client = Some((cert.into_bytes(), Secret::new(key)));
    let config = tls.config().unwrap().unwrap();
    assert!(!format!("{tls:?}{config:?}").contains(&line));
}

struct TlsPort {
    _folder: tempfile::TempDir,
    files: ListenerFiles,
    ca: Authority,
}

/// The files of a port whose certificate `ca` issued.
fn port(with_clients: bool) -> TlsPort {
    let ca = authority("the authority");
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    let files = ListenerFiles {
        certificate: path("tls.crt"),
        key: path("tls.key"),
        client_ca: with_clients.then(|| path("ca.crt")),
    };
    fs::write(path("ca.crt"), &ca.pem).unwrap();
    write(&files, &ca.server());
    TlsPort {
        _folder: folder,
        files,
        ca,
    }
}

fn write(files: &ListenerFiles, pair: &Pair) {
    fs::write(&files.certificate, &pair.0).unwrap();
    fs::write(&files.key, &pair.1).unwrap();
}

fn visit(listener: &ListenerTls, client: &ClientTls) -> Result<ProtocolVersion, String> {
    connect(
        client.config().unwrap().unwrap(),
        listener.config(),
        client.name("db.example.com").unwrap(),
    )
}

#[test]
fn a_port_with_an_authority_takes_only_clients_with_a_certificate_of_it() {
    let port = port(true);
    let listener = ListenerTls::load(port.files.clone(), &["postgresql"]).unwrap();
    let mut client = tls(TlsMode::VerifyFull, Some(&port.ca.pem));
    let words = visit(&listener, &client).unwrap_err();
    assert!(words.contains("tls_cert_file"), "{words}");

    let mut with = |issuer: &Authority| {
        let Pair(cert, key) = issuer.issue(&["monitor"], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        client.client = Some((cert.into_bytes(), Secret::new(key)));
        visit(&listener, &client)
    };
    assert_eq!(with(&port.ca).unwrap(), ProtocolVersion::TLSv1_3);
    let words = with(&authority("a stranger")).unwrap_err();
    assert!(words.contains("refused the client certificate"), "{words}");
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart_and_a_broken_one_is_not() {
    let port = port(false);
    let mut listener = ListenerTls::load(port.files.clone(), &["postgresql"]).unwrap();
    listener.look_every = Duration::ZERO;
    let old = tls(TlsMode::VerifyFull, Some(&port.ca.pem));
    visit(&listener, &old).unwrap();

    // Between its two files a renewal is broken: the old pair serves on.
    let renewed = authority("the next authority");
    let next = renewed.server();
    fs::write(&port.files.certificate, &next.0).unwrap();
    visit(&listener, &old).unwrap();
    assert!(
        listener
            .reload()
            .unwrap_err()
            .to_string()
            .contains("does not belong")
    );
    fs::remove_file(&port.files.key).unwrap();
    visit(&listener, &old).unwrap();

    fs::write(&port.files.key, &next.1).unwrap();
    visit(&listener, &tls(TlsMode::VerifyFull, Some(&renewed.pem))).unwrap();
    visit(&listener, &old).unwrap_err();
}

#[test]
fn files_are_not_looked_at_before_their_time_unless_told() {
    let port = port(false);
    let mut listener = ListenerTls::load(port.files.clone(), &[]).unwrap();
    listener.look_every = Duration::from_secs(3600);
    let before = listener.config();
    write(&port.files, &port.ca.server());
    assert!(Arc::ptr_eq(&before, &listener.config()));
    listener.reload().unwrap();
    assert!(!Arc::ptr_eq(&before, &listener.config()));
}

#[test]
fn a_renewal_by_a_turned_link_is_seen_as_kubernetes_makes_it() {
    let port = port(false);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (version, pair) in [("1", port.ca.server()), ("2", port.ca.server())] {
        fs::create_dir(path(version)).unwrap();
        fs::write(path(version).join("tls.crt"), pair.0).unwrap();
        fs::write(path(version).join("tls.key"), pair.1).unwrap();
    }
    std::os::unix::fs::symlink("1", path("data")).unwrap();
    let files = ListenerFiles {
        certificate: path("data/tls.crt"),
        key: path("data/tls.key"),
        client_ca: None,
    };
    let mut listener = ListenerTls::load(files, &[]).unwrap();
    listener.look_every = Duration::ZERO;
    let before = listener.config();
    assert!(Arc::ptr_eq(&before, &listener.config()));
    std::os::unix::fs::symlink("2", path("next")).unwrap();
    fs::rename(path("next"), path("data")).unwrap();
    assert!(!Arc::ptr_eq(&before, &listener.config()));
}

proptest::proptest! {
    #[test]
    fn no_message_about_pem_repeats_the_file(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "QZMARK7", "-----BEGIN ", "-----END ", "-----", "\n", "CERTIFICATE", "PRIVATE KEY",
            "RSA PRIVATE KEY", "QUJD", "=", "!", "Proc-Type: 4,", "-----BEGIN CERTIFICATE-----\n",
            "\n-----END CERTIFICATE-----\n", "-----BEGIN PRIVATE KEY-----\n",
            "\n-----END PRIVATE KEY-----\n",
        ]), 0..10),
    ) {
        let text = pieces.concat();
        let provider = provider();
        let errors = [
            pem::certificates(text.as_bytes()).err(),
            pem::authorities(text.as_bytes()).err(),
            pem::private_key(text.as_bytes()).err(),
            pem::certified_key(text.as_bytes(), text.as_bytes(), &provider).err(),
        ];
        for error in errors.into_iter().flatten() {
            let error = format!("{error} {error:?}");
            proptest::prop_assert!(!error.contains("QZMARK"), "{}", error);
        }
    }
}
