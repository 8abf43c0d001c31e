//! When a message that failed is tried again, where its group has a policy of its own (upstream
//! `GroupRetryPolicy`, which its broker hands to others and follows nowhere).

use apogee_wire::bodies::{GroupRetryPolicy, GroupRetryPolicyType};

/// Entries of a list that come before the first retry: the list begins where the delay levels do, and
/// a first retry waits for the third of them.
const SKIPPED: usize = 2;
/// Most entries of a list.
const MOST: usize = 1_024;

/// Milliseconds until the retry after so many attempts; `None` when the group has no policy of its own.
pub(crate) fn delay_ms(policy: &GroupRetryPolicy, attempts: i32) -> Option<i64> {
    let attempts = u32::try_from(attempts).unwrap_or_default();
    match policy.kind {
        GroupRetryPolicyType::Customized => {
            let next = &policy.customized_retry_policy.as_ref()?.next;
            next.get(attempts as usize + SKIPPED).or(next.last()).copied()
        }
        GroupRetryPolicyType::Exponential => {
            let policy = policy.exponential_retry_policy.as_ref()?;
            let grown = policy.initial.saturating_mul(policy.multiplier.saturating_pow(attempts));
            Some(grown.min(policy.max))
        }
    }
}

/// Says what is wrong with a policy.
pub(crate) fn check(policy: &GroupRetryPolicy) -> Result<(), String> {
    if let Some(list) = &policy.customized_retry_policy
        && (list.next.is_empty() || list.next.len() > MOST || list.next.iter().any(|delay| *delay < 0))
    {
        return Err(format!("customizedRetryPolicy.next must have 1 to {MOST} delays in milliseconds, none negative"));
    }
    if let Some(growth) = &policy.exponential_retry_policy
        && (growth.initial < 1 || growth.max < growth.initial || growth.multiplier < 1)
    {
        let wanted = "initial and multiplier of at least 1, and a max of at least initial, in milliseconds";
        return Err(format!("exponentialRetryPolicy must have {wanted}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use apogee_wire::bodies::{CustomizedRetryPolicy, ExponentialRetryPolicy};

    use super::*;

    fn delays(policy: &GroupRetryPolicy) -> Vec<i64> {
        (0..5).filter_map(|attempts| delay_ms(policy, attempts)).collect()
    }

    /// The delays here are what upstream's classes say of the same policies.
    #[test]
    fn a_group_has_the_delays_that_it_asks_for() {
        let list = CustomizedRetryPolicy { next: vec![1_000, 2_000, 3_000, 9_000] };
        let mut policy = GroupRetryPolicy { customized_retry_policy: Some(list), ..Default::default() };
        assert_eq!(delays(&policy), [3_000, 9_000, 9_000, 9_000, 9_000]);
        policy.customized_retry_policy = Some(CustomizedRetryPolicy { next: vec![7] });
        assert_eq!(delays(&policy), [7; 5]);
        policy.kind = GroupRetryPolicyType::Exponential;
        assert_eq!(delays(&policy), [0; 0], "of this kind it says nothing");
        let growth = ExponentialRetryPolicy { initial: 1_000, max: 9_500, multiplier: 3 };
        policy.exponential_retry_policy = Some(growth);
        assert_eq!(delays(&policy), [1_000, 3_000, 9_000, 9_500, 9_500]);
        assert_eq!((delay_ms(&policy, i32::MAX), delay_ms(&policy, -1)), (Some(9_500), Some(1_000)));
        assert_eq!(delays(&GroupRetryPolicy::default()), [0; 0]);
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_refused() {
        let list = |next| {
            let list = Some(CustomizedRetryPolicy { next });
            check(&GroupRetryPolicy { customized_retry_policy: list, ..Default::default() })
        };
        let growth = |initial, max, multiplier| {
            let growth = Some(ExponentialRetryPolicy { initial, max, multiplier });
            check(&GroupRetryPolicy { exponential_retry_policy: growth, ..Default::default() })
        };
        assert!(list(vec![]).is_err() && list(vec![1, -1]).is_err() && list(vec![1; 1_025]).is_err());
        assert!(growth(0, 1, 1).is_err() && growth(2, 1, 1).is_err() && growth(1, 1, 0).is_err());
        assert_eq!((list(vec![0]), growth(1, 1, 1)), (Ok(()), Ok(())));
        assert_eq!(check(&GroupRetryPolicy::default()), Ok(()));
    }
}
