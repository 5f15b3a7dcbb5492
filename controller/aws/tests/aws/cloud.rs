//! The cloud adapter against an emulation of EC2 Auto Scaling, and against moto for what moto does right.

mod accounts;
mod contract;
mod egress;
mod endings;
mod groups;
mod launches;
mod moto;
mod stage;
mod standby;
