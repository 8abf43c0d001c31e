//! What brokers and administrators ask, and who answers.

use apogee_wire::Command;
use apogee_wire::bodies::{Body, BrokerReplicasInfo, ElectMasterResponseBody};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::*;

use crate::cluster::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_comes_up_gets_a_master_and_another_one() {
    let cluster = Cluster::start(3).await;
    let next = Command::request(request::CONTROLLER_GET_NEXT_BROKER_ID)
        .with_header(&GetNextBrokerIdRequestHeader { cluster_name: Some("C"), broker_name: Some("b") });
    let answer = cluster.ask(&next).await;
    assert_eq!(answer.fields.get("nextBrokerId"), Some("1"));
    let mut brokers = cluster.brokers("b", &[1, 2, 3]).await;
    assert_eq!(cluster.ask(&next).await.fields.get("nextBrokerId"), Some("4"));

    let answer = cluster.ask(&brokers[1].elect(false)).await;
    assert_eq!((answer.code, answer.fields.get("masterEpoch")), (response::SUCCESS, Some("1")), "{answer:?}");
    let body = ElectMasterResponseBody::decode(&answer.body).expect("a body");
    assert_eq!(body.broker_member_group.expect("members").broker_addrs.len(), 3);
    let again = cluster.ask(&brokers[0].elect(false)).await;
    assert_eq!((again.code, again.fields.get("masterBrokerId")), (response::CONTROLLER_MASTER_STILL_EXIST, Some("2")));

    let answer = cluster.ask(&brokers[1].alter(1, &[1, 2], 1)).await;
    assert_eq!((answer.code, answer.fields.get("newSyncStateSetEpoch")), (response::SUCCESS, Some("2")), "{answer:?}");
    let replayed = cluster.ask(&brokers[1].alter(1, &[1, 2, 3], 1)).await;
    assert_eq!(replayed.code, response::CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH);

    // The master's process ends: its connections close, and the only other one in sync follows at once.
    let before = std::time::Instant::now();
    brokers.remove(1).kill();
    assert_eq!(cluster.until_master("b", Some(1)).await, 2);
    assert!(before.elapsed() < std::time::Duration::from_secs(2), "{:?}", before.elapsed());
    for broker in &brokers {
        until("each broker is told", || broker.news.lock().expect("fine").contains(&(Some(1), 2))).await;
    }
    // The rest lack what was acknowledged: nobody is elected without the operator's word.
    brokers.remove(0).kill();
    assert_eq!(cluster.until_master("b", None).await, 3);
    assert_eq!(cluster.ask(&brokers[0].elect(false)).await.code, response::CONTROLLER_ELECT_MASTER_FAILED);
    assert_eq!(cluster.ask(&brokers[0].elect(true)).await.code, response::CONTROLLER_ELECT_MASTER_FAILED);
    for node in 0..3 {
        let unclean = Command::request(request::UPDATE_CONTROLLER_CONFIG).with_body("enableElectUncleanMaster=true\n");
        assert_eq!(ask(&cluster.address(node), &unclean).await.expect("an answer").code, response::SUCCESS);
    }
    assert_eq!(cluster.until_master("b", Some(3)).await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_leader_decides_and_all_say_who_it_is() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let register = cluster.brokers("b", &[1]).await[0].register();
    for node in 0..3 {
        let state = ask(&cluster.address(node), &Command::request(request::CONTROLLER_GET_METADATA_INFO)).await;
        let state = state.expect("an answer");
        let header: GetMetaDataResponseHeader<'_> = state.header().expect("a header");
        assert_eq!(header.controller_leader_address, Some(&*cluster.address(leader)));
        assert_eq!(header.controller_leader_id, Some(&*format!("n{leader}")));
        assert_eq!((header.is_leader, header.group), (Some(node == leader), Some("group1")));
        assert_eq!(header.peers.unwrap_or_default().matches("n").count(), 3);
        if node != leader {
            let answer = ask(&cluster.address(node), &register).await.expect("an answer");
            assert_eq!(answer.code, response::CONTROLLER_NOT_LEADER);
            assert!(answer.remark.unwrap_or_default().contains(&cluster.address(leader)));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_controller_is_enough_for_those_who_want_one() {
    let cluster = Cluster::start(1).await;
    let brokers = cluster.brokers("b", &[1]).await;
    assert_eq!(cluster.ask(&brokers[0].elect(false)).await.code, response::SUCCESS);
    let names = Command::request(request::CONTROLLER_GET_SYNC_STATE_DATA).with_body(r#"["b","unknown"]"#);
    let info = BrokerReplicasInfo::decode(&cluster.ask(&names).await.body).expect("a body");
    assert_eq!(info.replicas_info_table.len(), 1);
    let group = &info.replicas_info_table["b"];
    assert_eq!((group.master_broker_id, group.in_sync_replicas[0].alive), (Some(1), Some(true)));
    // Living ones are forgotten only when that is wanted.
    let clean = |is_clean_living_broker| {
        Command::request(request::CLEAN_BROKER_DATA).with_header(&CleanControllerBrokerDataRequestHeader {
            cluster_name: Some("C"),
            broker_name: "b",
            broker_controller_ids_to_clean: None,
            is_clean_living_broker: Some(is_clean_living_broker),
            invoke_time: None,
        })
    };
    assert_eq!(cluster.ask(&clean(false)).await.code, response::CONTROLLER_INVALID_CLEAN_BROKER_METADATA);
    assert_eq!(cluster.ask(&clean(true)).await.code, response::SUCCESS);
    let info = BrokerReplicasInfo::decode(&cluster.ask(&names).await.body).expect("a body");
    assert!(info.replicas_info_table.is_empty());
}
