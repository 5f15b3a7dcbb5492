//! Cases about what door and registrar write: claims, one-time keys, leases.

use super::samples::{at, claim, instance, minted};
use super::{Keeps, good};
use crate::Upkeep;

/// A claim of a higher session replaces the former one; the same or a lower one changes nothing.
pub async fn a_later_session_replaces_a_claim<S: Upkeep>(store: &S, _: Keeps) {
    let first = claim(1, 2, 0);
    assert!(good(store.put_claim(&first).await));
    let mut other = claim(1, 2, 50);
    other.nonce = "other".to_owned();
    assert!(!good(store.put_claim(&other).await));
    assert!(!good(store.put_claim(&claim(1, 1, 60)).await));
    assert_eq!(good(store.claim(&instance(1)).await), Some(first.clone()));
    assert!(good(store.attach_config(&minted(&first, 7)).await));
    let later = claim(1, 3, 70);
    assert!(good(store.put_claim(&later).await));
    assert_eq!(good(store.claim(&instance(1)).await), Some(later.clone()));
    assert_eq!(good(store.unminted().await), [later]);
    assert_eq!(good(store.claim(&instance(2)).await), None);
}

/// A registration is attached to the claim of its session, once, and changes nothing else of it.
pub async fn a_registration_is_attached_once<S: Upkeep>(store: &S, _: Keeps) {
    let first = claim(1, 2, 0);
    assert!(!good(store.attach_config(&minted(&first, 7)).await));
    good(store.put_claim(&first).await);
    assert!(!good(store.attach_config(&minted(&claim(1, 1, 0), 7)).await));
    assert!(!good(store.attach_config(&minted(&claim(1, 3, 0), 7)).await));
    assert_eq!(good(store.claim(&instance(1)).await), Some(first.clone()));
    let mut strange = minted(&first, 7);
    strange.nonce = "other".to_owned();
    assert!(good(store.attach_config(&strange).await));
    assert_eq!(good(store.claim(&instance(1)).await), Some(minted(&first, 7)));
    assert!(!good(store.attach_config(&minted(&first, 8)).await));
    assert_eq!(good(store.claim(&instance(1)).await), Some(minted(&first, 7)));
    assert_eq!(good(store.unminted().await), []);
}

/// Only the sealed configuration goes, and only that of the session named.
pub async fn a_configuration_is_dropped_with_its_session<S: Upkeep>(store: &S, _: Keeps) {
    good(store.drop_config(&instance(1), 1).await);
    let row = minted(&claim(1, 2, 0), 7);
    good(store.put_claim(&claim(1, 2, 0)).await);
    good(store.attach_config(&row).await);
    good(store.drop_config(&instance(1), 1).await);
    good(store.drop_config(&instance(1), 3).await);
    assert_eq!(good(store.claim(&instance(1)).await), Some(row.clone()));
    let mut bare = row.clone();
    bare.sealed_config = None;
    for _ in 0..2 {
        good(store.drop_config(&instance(1), 2).await);
        assert_eq!(good(store.claim(&instance(1)).await), Some(bare.clone()));
    }
    // It cannot come back.
    assert!(!good(store.attach_config(&row).await));
    assert_eq!(good(store.claim(&instance(1)).await), Some(bare));
}

/// Claims without a registration come oldest first, then by instance.
pub async fn claims_wait_oldest_first<S: Upkeep>(store: &S, _: Keeps) {
    for (number, claimed) in [(3, 10), (1, 20), (2, 10), (4, 5)] {
        good(store.put_claim(&claim(number, 1, claimed)).await);
    }
    good(store.attach_config(&minted(&claim(4, 1, 5), 1)).await);
    good(store.put_claim(&minted(&claim(5, 1, 0), 2)).await);
    assert_eq!(good(store.unminted().await), [claim(2, 1, 10), claim(3, 1, 10), claim(1, 1, 20)]);
}

/// The second use fails, whatever it says about the time.
pub async fn a_one_time_key_is_used_once<S: Upkeep>(store: &S, _: Keeps) {
    assert!(good(store.use_once("a", at(10)).await));
    assert!(!good(store.use_once("a", at(99)).await));
    assert!(good(store.use_once("b", at(10)).await));
    good(store.prune(at(10)).await);
    assert!(!good(store.use_once("a", at(10)).await));
    good(store.prune(at(11)).await);
    assert!(good(store.use_once("a", at(20)).await));
}

/// Heartbeats may arrive out of order.
pub async fn a_lease_only_grows<S: Upkeep>(store: &S, _: Keeps) {
    assert_eq!(good(store.lease(&instance(1)).await), None);
    for (heard, known) in [(5, 5), (9, 9), (7, 9)] {
        good(store.touch_lease(&instance(1), at(heard)).await);
        assert_eq!(good(store.lease(&instance(1)).await), Some(at(known)));
    }
}
