//! Commands about controllers, against one of ours in the state that Apache's had when its tools' output was recorded.

mod common;

use common::Server;
use common::controller::Controllers;
use common::mqadmin::{MqAdmin, golden};

/// What a command prints as Apache's printed it, but for the controller's address.
fn is_as_recorded(address: &str, text: &str, sample: &str) {
    let words = |text: &str| -> Vec<Vec<String>> {
        let lines = text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        lines.filter(|line| !line.is_empty()).collect()
    };
    assert_eq!(words(&text.replace(address, "127.0.0.1:19887")), words(&golden(sample)));
}

#[test]
fn controllers_are_asked_and_told_as_by_apaches_tools() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    let controllers = Controllers::start(1);
    let address = controllers.addresses[0].to_string();
    // At first nobody leads.
    controllers.leader();

    is_as_recorded(&address, &admin.ok(&["getControllerMetaData", "-a", &address]), "getControllerMetaData.txt");
    // The first that answers is enough.
    let both = format!("127.0.0.1:1;{address}");
    let state = admin.json(&["getControllerMetaData", "-a", &both]);
    assert_eq!(
        (&state["controllers"]["leaderId"], &state["controllers"]["peers"][0]),
        (&"n0".into(), &format!("n0:{address}").into())
    );

    let first = controllers.join("CtlCluster", "broker-c", 1, "127.0.0.1:32911");
    let _second = controllers.join("CtlCluster", "broker-c", 2, "127.0.0.1:33911");
    controllers.succeeds(&first.elect());
    controllers.succeeds(&first.alter(1, &[1, 2], 1));
    let elect =
        |id| ["electMaster", "-a", &address, "-b", id, "-bn", "broker-c", "-c", "CtlCluster"].map(str::to_owned);
    let refused = elect("9");
    let refused = admin.fails(&refused.each_ref().map(String::as_str));
    assert!(refused.contains("Failed to elect a new master"), "{refused}");
    let elected = elect("2");
    let elected = admin.ok(&elected.each_ref().map(String::as_str));
    assert!(elected.contains("#BrokerMasterAddr\t127.0.0.1:33911"), "{elected}");
    assert!(elected.contains("\n\t#Broker\t1\t127.0.0.1:32911\n"), "{elected}");

    let set = admin.ok(&["getSyncStateSet", "-a", &address, "-b", "broker-c"]);
    is_as_recorded(&address, &set, "getSyncStateSet-after.txt");
    // The brokers of a cluster are those that the name server knows.
    let broker = controllers.join("DefaultCluster", "broker-a", 1, "127.0.0.1:1");
    controllers.succeeds(&broker.elect());
    let set = admin.json(&["getSyncStateSet", "-a", &address, "-c", "DefaultCluster"]);
    assert_eq!((&set["brokers"][0]["broker"], &set["brokers"][0]["masterId"]), (&"broker-a".into(), &1.into()));

    let settings = admin.json(&["getControllerConfig", "-a", &address]);
    assert_eq!(settings["controllers"][0]["controllerType"], "DLedger");
    let text = admin.ok(&["getControllerConfig", "-a", &address]);
    assert!(text.starts_with(&format!("============{address}============\n")), "{text}");
    assert!(text.contains("controllerDLegerGroup                             =  group1\n"), "{text}");
    let sample = golden("getControllerConfig.txt");
    let keys = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| Some(line.split_once(" =")?.0.trim().to_owned())).collect()
    };
    // All that Apache's tells, but for the name of a Java object.
    let told = keys(&text);
    let lacking: Vec<_> = keys(&sample).into_iter().filter(|key| !told.contains(key) && key != "jraftConfig").collect();
    assert!(lacking.is_empty(), "{lacking:?}");
    let update = ["updateControllerConfig", "-a", &address, "-k", "scanNotActiveBrokerInterval", "-v", "5000"];
    is_as_recorded(&address, &admin.ok(&update), "updateControllerConfig.txt");
    assert!(
        admin
            .ok(&["getControllerConfig", "-a", &address])
            .contains("scanNotActiveBrokerInterval                       =  5000\n")
    );

    let clean = ["cleanBrokerMetadata", "-a", &address, "-b", "9", "-bn", "broker-c", "-c", "CtlCluster"];
    is_as_recorded(&address, &admin.ok(&clean), "cleanBrokerMetadata.txt");
    let clean = ["cleanBrokerMetadata", "-a", &address, "-b", "2", "-bn", "broker-c", "-c", "CtlCluster"];
    let refused = admin.fails(&clean);
    assert!(refused.contains("Broker [broker-c,  2] is still alive, clean up failure"), "{refused}");
}
