//! What became of a message.

use apogee_wire::bodies::MessageModel;

use super::{Admin, GroupMembers};
use crate::pull::Filter;
use crate::{Error, Received};

/// What became of a message in a group.
///
/// ```no_run
/// use apogee_client::admin::TrackState;
///
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// let message = admin.message("7F00000100002A9F0000000000000000").await?;
/// for track in admin.track(&message).await? {
///     if track.state == TrackState::Waiting && !track.is_online {
///         println!("nobody of group {} is there to consume it", track.group);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// The group.
    pub group: String,
    /// The group has members.
    pub is_online: bool,
    /// What became of it.
    pub state: TrackState,
}

/// What became of a message in a group; see [`Track`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackState {
    /// It was consumed, or sent back: then its later tries are in the group's retry topic.
    Consumed,
    /// The group has passed it over: its members don't want its tag.
    Filtered,
    /// The group is not so far yet.
    Waiting,
    /// Each member consumes all messages, and only members know how far they are.
    Broadcast,
}

impl Admin {
    /// What became of a message in each group that consumes its topic. Expressions in SQL92 are not evaluated: what they
    /// leave out counts as consumed.
    ///
    /// # Errors
    /// When a broker refuses or doesn't answer.
    pub async fn track(&self, message: &Received) -> Result<Vec<Track>, Error> {
        let topic = &*message.queue.topic;
        let mut tracks = Vec::new();
        for group in self.groups_of(topic).await? {
            let members = self.members(&group).await?;
            let state = match self.offset(&group, &message.queue).await? {
                _ if members.model == Some(MessageModel::Broadcasting) => TrackState::Broadcast,
                Some(offset) if offset > message.offset && !wants(&members, topic, message) => TrackState::Filtered,
                Some(offset) if offset > message.offset => TrackState::Consumed,
                _ => TrackState::Waiting,
            };
            tracks.push(Track { is_online: !members.clients.is_empty(), group, state });
        }
        Ok(tracks)
    }
}

/// Whether members want a message by its tag, as far as they say.
fn wants(members: &GroupMembers, topic: &str, message: &Received) -> bool {
    let mut subscriptions = members.subscriptions.iter();
    let Some(subscription) = subscriptions.find(|one| one.topic == topic && one.kind == "TAG") else { return true };
    let filter = Filter::tags(&subscription.expression);
    let mut wanted = filter.wanted().peekable();
    wanted.peek().is_none() || wanted.any(|tag| Some(tag) == message.tag())
}
