use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::*;

const BOUNDS: Bounds = Bounds { messages: 2, bytes: 100, span: 10 };
const LONG: Duration = Duration::from_secs(9);

fn held(order: Order, next: i64, committed: i64) -> (Arc<Held>, Arc<Ready>) {
    let ready = Arc::<Ready>::default();
    let queue = Queue::new("T", &"b".into(), 0);
    (Arc::new(Held::new(queue, order, BOUNDS, &ready, next, committed)), ready)
}

fn message(offset: i64, bytes: usize) -> Received {
    Received::sample(&Queue::new("T", &"b".into(), 0), offset, vec![0; bytes])
}

fn messages(offsets: &[i64]) -> Vec<Received> {
    offsets.iter().map(|offset| message(*offset, 1)).collect()
}

/// Offsets that are given out, of a queue that has some.
async fn take(ready: &Ready, most: usize) -> Vec<i64> {
    let queue = timeout(LONG, ready.next()).await.expect("a queue").expect("open");
    let mut taken = Vec::new();
    if queue.take(most, &mut taken) {
        ready.add(queue);
    }
    taken.iter().map(|message| message.offset).collect()
}

async fn has_nothing(ready: &Ready) -> bool {
    timeout(LONG, ready.next()).await.is_err()
}

#[test]
fn only_what_is_before_the_first_open_message_is_committed() {
    let (held, _) = held(Order::Free, 5, -1);
    assert_eq!(held.to_commit(), Some(5));
    held.committed(5);
    assert_eq!(held.to_commit(), None);
    held.fetched(messages(&[5, 7, 8]), 9);
    held.settle(7);
    held.settle(8);
    assert_eq!(held.to_commit(), None);
    held.settle(5);
    assert_eq!(held.to_commit(), Some(9));
    // A pull that brought nothing that is wanted.
    held.fetched([], 30);
    assert_eq!(held.to_commit(), Some(30));
}

#[test]
fn what_was_reached_means_nothing_once_the_group_goes_on_elsewhere() {
    let (held, _) = held(Order::Free, 5, -1);
    held.fetched(messages(&[5, 6]), 7);
    held.settle(5);
    held.move_to(2);
    held.settle(6);
    assert_eq!((held.to_commit(), held.reached()), (None, 2));
}

#[tokio::test(start_paused = true)]
async fn messages_are_given_out_once_as_many_as_are_wanted() {
    let (held, ready) = held(Order::Free, 0, 0);
    held.fetched(messages(&[0, 1, 2, 3]), 4);
    assert_eq!(take(&ready, 1).await, [0]);
    assert_eq!(take(&ready, 2).await, [1, 2]);
    assert_eq!(take(&ready, 9).await, [3]);
    assert!(has_nothing(&ready).await);
    held.fetched(messages(&[4]), 5);
    held.fetched(messages(&[5]), 6);
    assert_eq!(take(&ready, 9).await, [4, 5]);
    held.fetched(messages(&[6]), 7);
    held.give_up();
    assert!(take(&ready, 9).await.is_empty() && has_nothing(&ready).await);
}

#[tokio::test(start_paused = true)]
async fn in_order_the_next_ones_wait_for_those_that_are_given_out_and_for_those_that_rest() {
    let (held, ready) = held(Order::OneByOne, 0, 0);
    held.fetched(messages(&[0, 1, 2, 3]), 4);
    assert_eq!(take(&ready, 3).await, [0, 1, 2]);
    held.settle(2);
    held.rests(1);
    held.settle(0);
    // Nobody works on one, and yet it is not the next one's turn.
    held.at_rest().await;
    assert!(has_nothing(&ready).await);
    held.again(message(1, 1));
    assert_eq!(take(&ready, 9).await, [1, 3]);
    assert_eq!(held.to_commit(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_queue_whose_lock_is_not_renewed_gives_nothing_out() {
    let (held, ready) = held(Order::Locked, 0, 0);
    held.fetched(messages(&[0, 1, 2]), 3);
    assert!(has_nothing(&ready).await);
    held.locked(Instant::now());
    assert_eq!(take(&ready, 1).await, [0]);
    tokio::time::advance(LOCK_COUNTS).await;
    held.settle(0);
    assert!(has_nothing(&ready).await);
    held.locked(Instant::now());
    assert_eq!(take(&ready, 1).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_leaves_waits_for_what_is_worked_on_and_not_for_what_nobody_has() {
    let (held, ready) = held(Order::Free, 0, 0);
    held.fetched(messages(&[0, 1]), 2);
    assert_eq!(take(&ready, 1).await, [0]);
    held.close();
    assert!(timeout(LONG, held.at_rest()).await.is_err());
    held.settle(0);
    held.at_rest().await;
    assert_eq!(held.to_commit(), Some(1));
    assert!(take(&ready, 1).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn fetching_waits_while_there_is_too_much() {
    let too_much = [vec![message(1, 1), message(2, 1)], vec![message(1, 100)], vec![message(1, 1), message(11, 1)]];
    for messages in too_much {
        let (held, ready) = held(Order::Free, 0, 0);
        let next = messages.last().map_or(0, |last| last.offset + 1);
        held.fetched(messages, next);
        take(&ready, 9).await;
        assert!(timeout(LONG, held.room()).await.is_err());
        let (room, ()) = tokio::join!(timeout(LONG, held.room()), async {
            tokio::task::yield_now().await;
            held.settle(1);
        });
        assert!(room.is_ok());
    }
}
