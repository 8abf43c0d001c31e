//! Commands about controllers and epochs, as Apache's servers answer them: against a peer that answers what Apache's
//! controller and broker answered (`tests/golden/rpc`).

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use apogee_wire::codes::response;
use apogee_wire::{Command, frame};
use bytes::BytesMut;
use common::Server;
use common::mqadmin::{MqAdmin, golden};
use serde_json::Value;

/// Answers what Apache's answered, and remembers what it was asked.
struct Recorded {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Command>>>,
}

impl Recorded {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = Arc::clone(&log);
                std::thread::spawn(move || serve(stream, address, &log));
            }
        });
        Self { address, asked }
    }

    /// Fields of the last request.
    fn last(&self) -> Command {
        self.asked.lock().expect("not poisoned").last().expect("a request").clone()
    }
}

fn serve(mut stream: TcpStream, address: SocketAddr, log: &Mutex<Vec<Command>>) {
    let mut buffer = BytesMut::new();
    let mut command = Command::default();
    loop {
        while frame::decode(&mut buffer, &mut command, frame::MAX_FRAME).expect("a frame") {
            log.lock().expect("not poisoned").push(command.clone());
            let mut answer = recorded(command.code);
            answer.opaque = command.opaque;
            if answer.fields.get("controllerLeaderAddress").is_some() {
                answer.fields.set_str("controllerLeaderAddress", &address.to_string());
            }
            stream.write_all(&frame::to_bytes(&answer)).expect("it reads");
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(read) => buffer.extend_from_slice(&chunk[..read]),
        }
    }
}

/// The last answer of that code that is no refusal.
fn recorded(code: i32) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/rpc");
    let of_code = |name: &str| name.strip_prefix(&format!("{code}-")).is_some();
    let file = std::fs::read_dir(folder).expect("recordings").flatten().map(|entry| entry.path());
    let file = file.into_iter().find(|path| of_code(&path.file_name().unwrap_or_default().to_string_lossy()));
    let text = std::fs::read_to_string(file.unwrap_or_else(|| panic!("no recording of {code}"))).expect("read");
    let recording: Value = serde_json::from_str(&text).expect("JSON");
    let frames = recording["exchanges"].as_array().expect("a list").iter();
    let answers = frames.filter_map(|exchange| exchange["response"]["frame_hex"].as_str());
    let mut decoded = answers.map(|hex| {
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"));
        let mut buffer: BytesMut = bytes.collect::<Vec<_>>().as_slice().into();
        let mut command = Command::default();
        assert!(frame::decode(&mut buffer, &mut command, frame::MAX_FRAME).expect("a frame"));
        command
    });
    decoded.rfind(|answer| answer.code == response::SUCCESS).expect("one that is no refusal")
}

/// What a command prints as Apache's printed it, but for the address.
fn is_as_recorded(peer: &Recorded, text: &str, sample: &str) {
    let words = |text: &str| -> Vec<Vec<String>> {
        let lines = text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        lines.filter(|line| !line.is_empty()).collect()
    };
    let own = text.replace(&peer.address.to_string(), "127.0.0.1:19887");
    assert_eq!(words(&own), words(&golden(sample)));
}

#[test]
fn controllers_are_asked_and_told_as_apaches_tools_do() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    let peer = Recorded::start();
    let address = peer.address.to_string();

    is_as_recorded(&peer, &admin.ok(&["getControllerMetaData", "-a", &address]), "getControllerMetaData.txt");
    // The first that answers is enough.
    let both = format!("127.0.0.1:1;{address}");
    let state = admin.json(&["getControllerMetaData", "-a", &both]);
    assert_eq!(
        (&state["controllers"]["leaderId"], &state["controllers"]["peers"][0]),
        (&"n0".into(), &"n0:127.0.0.1:19887".into())
    );

    let set = admin.ok(&["getSyncStateSet", "-a", &address, "-b", "broker-c"]);
    is_as_recorded(&peer, &set, "getSyncStateSet-after.txt");
    assert_eq!(&peer.last().body[..], br#"["broker-c"]"#);
    let set = admin.json(&["getSyncStateSet", "-a", &address, "-c", "DefaultCluster"]);
    assert_eq!(&peer.last().body[..], br#"["broker-a"]"#);
    assert_eq!(
        (&set["brokers"][0]["masterId"], &set["brokers"][0]["notInSync"][0]["brokerId"]),
        (&2.into(), &1.into())
    );

    let settings = admin.json(&["getControllerConfig", "-a", &address]);
    assert_eq!(settings["controllers"][0]["controllerType"], "DLedger");
    let text = admin.ok(&["getControllerConfig", "-a", &address]);
    assert!(text.starts_with(&format!("============{address}============\n")), "{text}");
    assert!(text.contains("controllerDLegerGroup                             =  group1\n"), "{text}");
    let update = ["updateControllerConfig", "-a", &address, "-k", "scanNotActiveBrokerInterval", "-v", "5000"];
    is_as_recorded(&peer, &admin.ok(&update), "updateControllerConfig.txt");
    assert_eq!(&peer.last().body[..], b"scanNotActiveBrokerInterval=5000\n");

    let elect = ["electMaster", "-a", &address, "-b", "2", "-bn", "broker-c", "-c", "CtlCluster"];
    let elected = admin.ok(&elect);
    assert!(elected.contains("#BrokerMasterAddr\t127.0.0.1:"), "{elected}");
    assert!(elected.contains("\n\t#Broker\t1\t127.0.0.1:32911\n"), "{elected}");
    let asked = peer.last();
    let field = |name| asked.fields.get(name);
    assert_eq!(
        (field("brokerId"), field("designateElect"), field("brokerName")),
        (Some("2"), Some("true"), Some("broker-c"))
    );
    let clean = ["cleanBrokerMetadata", "-a", &address, "-b", "9", "-bn", "broker-c", "-c", "CtlCluster"];
    is_as_recorded(&peer, &admin.ok(&clean), "cleanBrokerMetadata.txt");
    let asked = peer.last();
    let field = |name| asked.fields.get(name);
    assert_eq!((field("brokerControllerIdsToClean"), field("isCleanLivingBroker")), (Some("9"), Some("false")));
}
