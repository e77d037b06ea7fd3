//! What goes wrong, and how all is well again.

use std::sync::Arc;

use ringwood_env::faulty::CrashMode;

use super::{Event, FaultKind, World};
use crate::history::Kind;
use crate::queue::{MILLI, Moment, SECOND};

impl World {
    pub(super) fn heal(&mut self) {
        self.healing = true;
        self.cut.clear();
        for member in 0..self.members.len() {
            self.members[member].paused_until = 0;
            self.members[member].disk_is_slow = false;
            if !self.members[member].is_up() {
                self.start(member);
            }
        }
    }

    /// Clients ask no more. Each key is read once, from all its replicas.
    pub(super) fn finish(&mut self) {
        self.finishing = true;
        for key in 0..self.mix.keys {
            let op = self.history.begin(key, Kind::Get, self.now);
            self.coordinate_at(0, op, key, Kind::Get);
        }
    }

    pub(super) fn foresee(&mut self, kind: FaultKind) {
        let every = match kind {
            FaultKind::Crash => self.mix.crash_every,
            FaultKind::Cut => self.mix.cut_every,
            FaultKind::Pause => self.mix.pause_every,
        };
        if every > 0 {
            let wait = self.random.below(2 * every);
            self.queue.push(self.now + wait, Event::Next(kind));
        }
    }

    pub(super) fn strike(&mut self, kind: FaultKind) {
        if self.healing {
            return;
        }
        let member = self.random.index(self.members.len());
        let lasts = match self.random.chance(0.5) {
            true => self.random.below(500 * MILLI),
            false => self.random.below(15 * SECOND),
        };
        match kind {
            FaultKind::Crash => {
                let down_for = lasts;
                self.queue.push(self.now, Event::Crash { member, down_for });
            }
            FaultKind::Pause => self.queue.push(self.now, Event::Pause { member, lasts }),
            FaultKind::Cut => {
                let cut = self.draw_cut();
                self.queue.push(self.now, Event::Cut { cut, lasts });
            }
        }
        self.foresee(kind);
    }

    /// Links in one direction: between two parts, both ways or one way, or a single one.
    pub(super) fn draw_cut(&self) -> Vec<(usize, usize)> {
        let all = self.members.len();
        let mut places: Vec<usize> = (0..all).collect();
        self.random.shuffle(&mut places);
        let (one, other) = places.split_at(1 + self.random.index(all - 1));
        let there = one.iter().flat_map(|&a| other.iter().map(move |&b| (a, b)));
        match self.random.below(3) {
            0 => there.collect(),
            1 => there.take(1).collect(),
            _ => there.flat_map(|(a, b)| [(a, b), (b, a)]).collect(),
        }
    }

    pub(super) fn crash(&mut self, member: usize, down_for: Moment) {
        if self.healing || !self.members[member].is_up() {
            return;
        }
        self.report.crashes += 1;
        let mode = *self
            .random
            .pick(&[CrashMode::LoseAll, CrashMode::Prefix, CrashMode::Subset]);
        self.members[member].crash(mode);
        self.running.retain(|_, running| running.at.0 != member);
        self.queue
            .push(self.now + down_for, Event::Start { member });
    }

    pub(super) fn start(&mut self, member: usize) {
        if !self.members[member].is_up() {
            let view = Arc::clone(&self.view);
            self.members[member].start(self.now, &view);
        }
    }
}
