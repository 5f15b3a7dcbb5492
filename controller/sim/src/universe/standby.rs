//! The standby stock: machines that are warmed up, stopped, started when a launch takes them, and replaced.
//!
//! Invariant: the stock is at most of its size, and on its way to it.

use std::time::Duration;

use muster_core::ids::ShapeId;
use muster_core::launch::Launch;
use muster_core::money::HourlyPrice;
use muster_core::ports::{self, CloudError};

use super::Universe;
use crate::agenda::Event;
use crate::books::Spell;
use crate::chance::{Purpose, number_of};
use crate::classes::ClassNo;
use crate::cloud::{InstanceNo, Stock, Stocked};

impl Universe {
    pub(super) fn start_standby(&mut self, launch: &Launch, class: ClassNo) -> Vec<InstanceNo> {
        let shape = &launch.purpose.shape;
        let mut started = Vec::new();
        while started.len() < launch.count as usize {
            let Some(stock) = self.fleet.stock.get_mut(shape) else {
                break;
            };
            let Some(place) = stock.machines.iter().position(|machine| machine.since.is_some()) else {
                break;
            };
            let Some(machine) = stock.machines.remove(place) else {
                break;
            };
            let (owner, price) = (stock.class, stock.standby_price);
            let since = machine.since.unwrap_or(self.now);
            let now = self.now;
            self.books.of(owner).stood_by(now.since(since), price);
            let boot = self.draw_start(Purpose::StandbyStart, launch, class, self.settings.profile.standby_start);
            self.run_machine(machine.no, launch, class, boot);
            started.push(machine.no);
        }
        self.restock(shape);
        started
    }

    /// Keeps `size` machines of a shape on standby: machines that are taken are replaced.
    ///
    /// # Errors
    /// [`CloudError::Rejected`] for an unknown shape and for one that cannot stand by.
    pub fn set_standby(&mut self, shape: &ShapeId, size: u32) -> Result<(), CloudError> {
        self.fleet.requests += 1;
        let Some(info) = self.classes.shape(shape).cloned() else {
            if size == 0 {
                // What there is not can be emptied.
                return Ok(());
            }
            return Err(CloudError::Rejected(format!("there is no shape {shape}")));
        };
        let Some(standby_price) = info.standby_price else {
            return Err(CloudError::Rejected(format!("shape {shape} cannot stand by")));
        };
        let class = self.classes.of_id(&info.class);
        let stock = self.fleet.stock.entry(shape.clone()).or_insert_with(|| Stock {
            size,
            class,
            price: info.price,
            standby_price,
            machines: Default::default(),
            warmed: 0,
        });
        stock.size = size;
        let mut given_up = Vec::new();
        while stock.machines.len() > size as usize {
            given_up.extend(stock.machines.pop_back());
        }
        for machine in given_up {
            self.close_stocked(class, standby_price, &machine);
        }
        self.restock(shape);
        Ok(())
    }

    /// Books a standby machine that goes away unused.
    fn close_stocked(&mut self, class: ClassNo, standby_price: HourlyPrice, machine: &Stocked) {
        let now = self.now;
        let book = self.books.of(class);
        match machine.since {
            Some(since) => book.stood_by(now.since(since), standby_price),
            None => book.costs.add(machine.warming.costs(now)),
        }
    }

    /// Warms up as many machines as the stock lacks.
    fn restock(&mut self, shape: &ShapeId) {
        let Some(os) = self.classes.shape(shape).map(|info| info.os) else {
            return;
        };
        let delay = self.settings.profile.boot(os);
        loop {
            let no = match self.fleet.stock.get(shape) {
                Some(stock) if stock.machines.len() < stock.size as usize => self.fleet.new_no(),
                Some(_) | None => return,
            };
            let Some(stock) = self.fleet.stock.get_mut(shape) else {
                return;
            };
            let mut stream = self.chance.stream(Purpose::Prewarm, number_of(shape.as_str()), stock.warmed);
            stock.warmed += 1;
            let warming = Spell { price: stock.price, started_at: self.now, ready_at: None, ran: Duration::ZERO };
            stock.machines.push_back(Stocked { no, since: None, warming });
            self.agenda.at(self.now + delay.draw(&mut stream), Event::Stocked(no));
        }
    }

    /// A standby machine is warm and stops.
    pub(super) fn stocked(&mut self, no: InstanceNo) {
        let now = self.now;
        for stock in self.fleet.stock.values_mut() {
            if let Some(machine) = stock.machines.iter_mut().find(|machine| machine.no == no) {
                machine.since = Some(now);
                self.books.of(stock.class).costs.add(machine.warming.costs(now));
                return;
            }
        }
    }

    /// The standby stocks.
    pub fn standby(&mut self) -> Vec<ports::Stock> {
        self.fleet.requests += 1;
        let ready = |stock: &Stock| u32::try_from(stock.ready()).unwrap_or(u32::MAX);
        let told = self.fleet.stock.iter().map(|(shape, stock)| ports::Stock {
            shape: shape.clone(),
            ready: ready(stock),
            size: Some(stock.size),
        });
        told.collect()
    }
}
