//! Runner classes and shapes as small numbers, asked of the catalog once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use muster_core::ids::{ClassId, PoolName, ShapeId};
use muster_core::money::HourlyPrice;

use crate::catalog::NOBODY;
use crate::catalog::{Catalog, ClassInfo, Service, ShapeInfo};
use crate::labels::LabelsNo;

/// The number of a class, in order of first sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClassNo(pub(crate) usize);

pub(crate) struct Classes {
    catalog: Box<dyn Catalog>,
    infos: Vec<ClassInfo>,
    by_id: BTreeMap<ClassId, ClassNo>,
    by_job: HashMap<(LabelsNo, Arc<str>, bool), Option<ClassNo>>,
    shapes: BTreeMap<ShapeId, ShapeInfo>,
}

impl Classes {
    pub(crate) fn new(catalog: Box<dyn Catalog>) -> Classes {
        Classes { catalog, infos: Vec::new(), by_id: BTreeMap::new(), by_job: HashMap::new(), shapes: BTreeMap::new() }
    }

    /// Another configuration from here on. Classes that are known keep their numbers.
    pub(crate) fn replace(&mut self, catalog: Box<dyn Catalog>) {
        self.catalog = catalog;
        self.by_job.clear();
        self.shapes.clear();
        for info in &mut self.infos {
            if let Some(new) = self.catalog.class(&info.id) {
                *info = new;
            }
        }
    }

    /// The class that a job counts under; `None` if GitHub hosts it. Jobs that nobody serves have a class of their own.
    pub(crate) fn of_job(
        &mut self,
        labels_no: LabelsNo,
        labels: &Arc<[Arc<str>]>,
        repository: &Arc<str>,
        public: bool,
    ) -> Option<ClassNo> {
        let key = (labels_no, repository.clone(), public);
        if let Some(known) = self.by_job.get(&key) {
            return *known;
        }
        let class = match self.catalog.serve(labels, repository, public) {
            Service::Class(id) => Some(self.of_id(&id)),
            Service::Hosted => None,
            Service::Nobody => {
                let id = ClassId::new(format!("{NOBODY}/{}", labels.join("+")));
                Some(self.enter(ClassInfo {
                    id,
                    pool: PoolName::new(NOBODY),
                    labels: labels.clone(),
                    price: HourlyPrice::ZERO,
                    shapes: Vec::new(),
                }))
            }
        };
        self.by_job.insert(key, class);
        class
    }

    /// The number of a class; one that the catalog does not know has its id for a label.
    pub(crate) fn of_id(&mut self, id: &ClassId) -> ClassNo {
        if let Some(number) = self.by_id.get(id) {
            return *number;
        }
        let info = self.catalog.class(id).unwrap_or_else(|| ClassInfo {
            id: id.clone(),
            pool: PoolName::new("unknown"),
            labels: Arc::from([Arc::from(id.as_str())]),
            price: HourlyPrice::ZERO,
            shapes: Vec::new(),
        });
        self.enter(info)
    }

    fn enter(&mut self, info: ClassInfo) -> ClassNo {
        if let Some(number) = self.by_id.get(&info.id) {
            return *number;
        }
        let number = ClassNo(self.infos.len());
        self.by_id.insert(info.id.clone(), number);
        self.infos.push(info);
        number
    }

    pub(crate) fn info(&self, class: ClassNo) -> &ClassInfo {
        &self.infos[class.0]
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (ClassNo, &ClassInfo)> {
        self.infos.iter().enumerate().map(|(number, info)| (ClassNo(number), info))
    }

    /// A shape; `None` if the catalog does not know it.
    pub(crate) fn shape(&mut self, id: &ShapeId) -> Option<&ShapeInfo> {
        if !self.shapes.contains_key(id) {
            let info = self.catalog.shape(id)?;
            self.shapes.insert(id.clone(), info);
        }
        self.shapes.get(id)
    }
}
