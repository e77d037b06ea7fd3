//! How much a node should hold: in proportion to its weight, as far as zones and distinct replicas let
//! it. In fixed-point numbers, so that every machine computes the same.

use alloc::vec::Vec;

/// Bits behind the point.
const FRACTION: u32 = 20;
const ONE: u64 = 1 << FRACTION;
/// What division may have lost, a few times over; far below what matters.
const SLACK: u64 = 16;

/// `count` in fixed point.
pub(super) const fn fixed(count: usize) -> u64 {
    (count as u64) << FRACTION
}

/// What each zone should hold of `len` replicas of every partition, given its (weight, nodes).
pub(super) fn of_zones(partitions: usize, len: usize, zones: &[(u64, usize)]) -> Vec<u64> {
    let each = fixed(partitions);
    let range = |nodes: usize| match len.checked_sub(zones.len()) {
        // More zones than replicas: none holds a partition twice.
        None => (0, each),
        // Every zone has one at least, and one of them all that the others leave.
        Some(more) => (each, each * nodes.min(more + 1) as u64),
    };
    let limits: Vec<_> = zones.iter().map(|&(_, nodes)| range(nodes)).collect();
    let weights: Vec<_> = zones.iter().map(|zone| zone.0).collect();
    spread(fixed(partitions * len), &weights, &limits)
}

/// What each node of a zone should hold of the zone's share: no partition twice.
pub(super) fn of_nodes(partitions: usize, share: u64, weights: &[u64]) -> Vec<u64> {
    let limits = alloc::vec![(0, fixed(partitions)); weights.len()];
    spread(share, weights, &limits)
}

/// Divides `total` by weight within limits. Who would be beyond a limit is put there, on the side
/// that is off by more first, and the rest is divided anew.
fn spread(total: u64, weights: &[u64], limits: &[(u64, u64)]) -> Vec<u64> {
    let mut parts = alloc::vec![None; weights.len()];
    loop {
        let open = || (0..weights.len()).filter(|&one| parts[one].is_none());
        let fixed: u64 = parts.iter().flatten().sum();
        let weight: u64 = open().map(|one| weights[one]).sum();
        let rest = total.saturating_sub(fixed);
        let part = |one: usize| divided(rest, weights[one], weight);
        let below: u64 = open()
            .map(|one| limits[one].0.saturating_sub(part(one)))
            .sum();
        let above: u64 = open()
            .map(|one| part(one).saturating_sub(limits[one].1))
            .sum();
        if below == 0 && above == 0 {
            return (0..weights.len())
                .map(|one| parts[one].unwrap_or_else(|| part(one)))
                .collect();
        }
        let off: Vec<_> = open()
            .filter_map(|one| {
                let (low, high) = limits[one];
                let beyond = if below > above {
                    (part(one) < low).then_some(low)
                } else {
                    (part(one) > high).then_some(high)
                };
                Some((one, beyond?))
            })
            .collect();
        for (one, limit) in off {
            parts[one] = Some(limit);
        }
    }
}

fn divided(total: u64, weight: u64, of: u64) -> u64 {
    let part = u128::from(total) * u128::from(weight) / u128::from(of.max(1));
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// How many whole replicas each node is to have, `total` together: its share rounded down or up,
/// whichever leaves more of `loads` where they are.
pub(super) fn quotas(loads: &[usize], shares: &[u64], total: usize) -> Vec<usize> {
    let down = |node: usize| whole(shares[node] + SLACK);
    let up = |node: usize| whole(shares[node] + ONE - 1 - SLACK);
    let mut quotas: Vec<_> = (0..loads.len())
        .map(|node| loads[node].clamp(down(node), up(node).max(down(node))))
        .collect();
    // Whose share is nearer to the whole number below is rounded down first.
    let mut order: Vec<_> = (0..loads.len()).collect();
    order.sort_by_key(|&node| (shares[node] & (ONE - 1), node));
    let mut sum: usize = quotas.iter().sum();
    for &node in &order {
        let spare = (quotas[node] - down(node)).min(sum.saturating_sub(total));
        quotas[node] -= spare;
        sum -= spare;
    }
    for &node in order.iter().rev() {
        let room = up(node).saturating_sub(quotas[node]);
        let more = room.min(total.saturating_sub(sum));
        quotas[node] += more;
        sum += more;
    }
    quotas
}

fn whole(share: u64) -> usize {
    usize::try_from(share >> FRACTION).unwrap_or(usize::MAX)
}

/// `held` in proportion to `share`.
pub(super) fn proportion(held: usize, share: u64) -> u64 {
    divided(fixed(held), ONE, share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_weights_within_what_zones_allow() {
        let plain = of_zones(256, 3, &[(100, 1), (100, 1), (100, 1), (100, 1)]);
        assert_eq!(plain, [fixed(192); 4]);
        // A heavy zone holds no partition twice as long as there are zones enough.
        let heavy = of_zones(256, 3, &[(900, 9), (50, 1), (50, 1), (50, 1)]);
        assert_eq!(heavy[0], fixed(256));
        assert!(
            heavy[1..]
                .iter()
                .all(|&share| share.abs_diff(fixed(512) / 3) < 3)
        );
        // Two zones for three replicas: each has one at least.
        assert_eq!(
            of_zones(256, 3, &[(900, 9), (1, 1)]),
            [fixed(512), fixed(256)]
        );
        assert_eq!(
            of_zones(256, 3, &[(1, 1), (900, 9)]),
            [fixed(256), fixed(512)]
        );
        assert_eq!(of_zones(256, 3, &[(100, 4), (100, 4)]), [fixed(384); 2]);
        assert_eq!(of_zones(256, 1, &[(100, 1)]), [fixed(256)]);
        assert_eq!(
            of_nodes(256, fixed(512), &[1, 1, 98]),
            [fixed(128), fixed(128), fixed(256)]
        );
    }

    #[test]
    fn quotas_leave_loads_alone_where_rounding_lets_them() {
        let shares = [fixed(768) / 5; 5];
        assert_eq!(
            quotas(&[154, 153, 154, 153, 154], &shares, 768),
            [154, 153, 154, 153, 154]
        );
        let sixth = [fixed(768) / 6; 6];
        assert_eq!(quotas(&[154, 153, 154, 153, 154, 0], &sixth, 768), [128; 6]);
        let thirds = [fixed(10) / 3; 3];
        assert_eq!(quotas(&[0, 0, 0], &thirds, 10).iter().sum::<usize>(), 10);
        assert_eq!(quotas(&[10, 0, 0], &thirds, 10), [4, 3, 3]);
    }
}
