//! What the operations mean, on trees decoded by prost. Also used by the fuzz targets.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics, metric::Data};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use spanbridge_pdata::{
    Attribute, Attributes, Decoded, EditAttributes, Item, MetricView, Payload, ResourceView, ScopeView,
    Signal, Value,
};

/// A `ResourceX` of any signal.
#[derive(Debug, Clone)]
pub struct ResourceNode {
    pub resource: Option<Resource>,
    pub schema_url: String,
    pub scopes: Vec<ScopeNode>,
}

/// A `ScopeX` of any signal.
#[derive(Debug, Clone)]
pub struct ScopeNode {
    pub scope: Option<InstrumentationScope>,
    pub schema_url: String,
    pub entries: Vec<Entry>,
}

/// What a scope holds.
#[derive(Debug, Clone)]
pub enum Entry {
    Span(Span),
    Log(LogRecord),
    Metric(Metric),
}

/// Decodes a request with prost; `None` where prost refuses it.
pub fn decode(signal: Signal, request: &[u8]) -> Option<Decoded> {
    Some(match signal {
        Signal::Traces => Decoded::Traces(ExportTraceServiceRequest::decode(request).ok()?),
        Signal::Metrics => Decoded::Metrics(ExportMetricsServiceRequest::decode(request).ok()?),
        Signal::Logs => Decoded::Logs(ExportLogsServiceRequest::decode(request).ok()?),
    })
}

/// The canonical encoding: equal for equal trees, NaN included.
pub fn encode(decoded: &Decoded) -> Vec<u8> {
    match decoded {
        Decoded::Traces(request) => request.encode_to_vec(),
        Decoded::Metrics(request) => request.encode_to_vec(),
        Decoded::Logs(request) => request.encode_to_vec(),
    }
}

/// The canonical encoding of what a payload holds.
pub fn canonical(payload: &Payload) -> Vec<u8> {
    encode(&payload.decode().expect("a payload can be decoded"))
}

/// The tree of a request.
pub fn nodes(decoded: Decoded) -> Vec<ResourceNode> {
    macro_rules! convert {
        ($resources:expr, $scopes:ident, $entries:ident, $entry:path) => {
            $resources
                .into_iter()
                .map(|node| ResourceNode {
                    resource: node.resource,
                    schema_url: node.schema_url,
                    scopes: (node.$scopes.into_iter())
                        .map(|node| ScopeNode {
                            scope: node.scope,
                            schema_url: node.schema_url,
                            entries: node.$entries.into_iter().map($entry).collect(),
                        })
                        .collect(),
                })
                .collect()
        };
    }
    match decoded {
        Decoded::Traces(request) => convert!(request.resource_spans, scope_spans, spans, Entry::Span),
        Decoded::Metrics(request) => {
            convert!(request.resource_metrics, scope_metrics, metrics, Entry::Metric)
        }
        Decoded::Logs(request) => convert!(request.resource_logs, scope_logs, log_records, Entry::Log),
    }
}

/// The request of a tree.
pub fn request(signal: Signal, nodes: Vec<ResourceNode>) -> Decoded {
    macro_rules! convert {
        ($request:ident, $resources:ident, $resource:ident, $scopes:ident, $scope:ident, $entries:ident, $entry:ident) => {
            $request {
                $resources: (nodes.into_iter())
                    .map(|node| $resource {
                        resource: node.resource,
                        schema_url: node.schema_url,
                        $scopes: (node.scopes.into_iter())
                            .map(|node| $scope {
                                scope: node.scope,
                                schema_url: node.schema_url,
                                $entries: (node.entries.into_iter())
                                    .filter_map(|entry| {
                                        if let Entry::$entry(entry) = entry { Some(entry) } else { None }
                                    })
                                    .collect(),
                            })
                            .collect(),
                    })
                    .collect(),
            }
        };
    }
    match signal {
        Signal::Traces => Decoded::Traces(convert!(
            ExportTraceServiceRequest,
            resource_spans,
            ResourceSpans,
            scope_spans,
            ScopeSpans,
            spans,
            Span
        )),
        Signal::Metrics => Decoded::Metrics(convert!(
            ExportMetricsServiceRequest,
            resource_metrics,
            ResourceMetrics,
            scope_metrics,
            ScopeMetrics,
            metrics,
            Metric
        )),
        Signal::Logs => Decoded::Logs(convert!(
            ExportLogsServiceRequest,
            resource_logs,
            ResourceLogs,
            scope_logs,
            ScopeLogs,
            log_records,
            Log
        )),
    }
}

/// The serialized items of an entry: itself, or its data points.
pub fn items(entry: &Entry) -> Vec<Vec<u8>> {
    fn all<M: Message>(points: &[M]) -> Vec<Vec<u8>> {
        points.iter().map(Message::encode_to_vec).collect()
    }
    match entry {
        Entry::Span(span) => vec![span.encode_to_vec()],
        Entry::Log(record) => vec![record.encode_to_vec()],
        Entry::Metric(metric) => match &metric.data {
            None => Vec::new(),
            Some(Data::Gauge(data)) => all(&data.data_points),
            Some(Data::Sum(data)) => all(&data.data_points),
            Some(Data::Histogram(data)) => all(&data.data_points),
            Some(Data::ExponentialHistogram(data)) => all(&data.data_points),
            Some(Data::Summary(data)) => all(&data.data_points),
        },
    }
}

/// Keeps the items whose turn it is, and replaces what `edit` replaces.
fn edit_entry(entry: &mut Entry, edit: &mut impl FnMut() -> ModelEdit) -> bool {
    fn points<M: Message + Default>(points: &mut Vec<M>, edit: &mut impl FnMut() -> ModelEdit) -> bool {
        let had = !points.is_empty();
        points.retain_mut(|point| match edit() {
            ModelEdit::Keep => true,
            ModelEdit::Drop => false,
            ModelEdit::Clear => {
                *point = M::default();
                true
            }
        });
        !had || !points.is_empty()
    }
    match entry {
        Entry::Span(span) => {
            let mut one = vec![std::mem::take(span)];
            let keep = points(&mut one, edit);
            *span = one.pop().unwrap_or_default();
            keep
        }
        Entry::Log(record) => {
            let mut one = vec![std::mem::take(record)];
            let keep = points(&mut one, edit);
            *record = one.pop().unwrap_or_default();
            keep
        }
        Entry::Metric(metric) => match &mut metric.data {
            None => true,
            Some(Data::Gauge(data)) => points(&mut data.data_points, edit),
            Some(Data::Sum(data)) => points(&mut data.data_points, edit),
            Some(Data::Histogram(data)) => points(&mut data.data_points, edit),
            Some(Data::ExponentialHistogram(data)) => points(&mut data.data_points, edit),
            Some(Data::Summary(data)) => points(&mut data.data_points, edit),
        },
    }
}

/// What becomes of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelEdit {
    Keep,
    Drop,
    /// It is replaced by an empty one.
    Clear,
}

/// Edits all items; what loses its last one vanishes.
pub fn edit_items(nodes: &mut Vec<ResourceNode>, mut edit: impl FnMut() -> ModelEdit) {
    nodes.retain_mut(|resource| {
        let had_scopes = !resource.scopes.is_empty();
        resource.scopes.retain_mut(|scope| {
            let had_entries = !scope.entries.is_empty();
            scope.entries.retain_mut(|entry| edit_entry(entry, &mut edit));
            !had_entries || !scope.entries.is_empty()
        });
        !had_scopes || !resource.scopes.is_empty()
    });
}

/// How many items a tree has.
pub fn count(nodes: &[ResourceNode]) -> usize {
    let scopes = nodes.iter().flat_map(|node| &node.scopes);
    scopes.flat_map(|scope| &scope.entries).map(|entry| items(entry).len()).sum()
}

/// How many metrics a tree has.
pub fn count_metrics(nodes: &[ResourceNode]) -> usize {
    let scopes = nodes.iter().flat_map(|node| &node.scopes);
    scopes.flat_map(|scope| &scope.entries).filter(|entry| matches!(entry, Entry::Metric(_))).count()
}

/// An item, or something without items, and all that stands above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    resource: Vec<u8>,
    scope: Option<Vec<u8>>,
    metric: Option<Vec<u8>>,
    item: Option<Vec<u8>>,
}

impl Leaf {
    /// Whether it is an item.
    pub fn is_item(&self) -> bool {
        self.item.is_some()
    }
}

/// The leaves in order. Splitting may repeat what stands above, and changes nothing else.
pub fn leaves(nodes: &[ResourceNode]) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    for node in nodes {
        let head = ResourceSpans {
            resource: node.resource.clone(),
            schema_url: node.schema_url.clone(),
            scope_spans: Vec::new(),
        };
        let leaf = Leaf { resource: head.encode_to_vec(), scope: None, metric: None, item: None };
        if node.scopes.is_empty() {
            leaves.push(leaf.clone());
        }
        for scope in &node.scopes {
            let head = ScopeSpans {
                scope: scope.scope.clone(),
                schema_url: scope.schema_url.clone(),
                spans: Vec::new(),
            };
            let leaf = Leaf { scope: Some(head.encode_to_vec()), ..leaf.clone() };
            if scope.entries.is_empty() {
                leaves.push(leaf.clone());
            }
            for entry in &scope.entries {
                let leaf = Leaf { metric: metric_head(entry), ..leaf.clone() };
                let items = items(entry);
                if items.is_empty() {
                    leaves.push(leaf.clone());
                }
                leaves.extend(items.into_iter().map(|item| Leaf { item: Some(item), ..leaf.clone() }));
            }
        }
    }
    leaves
}

/// A metric without its points.
fn metric_head(entry: &Entry) -> Option<Vec<u8>> {
    let Entry::Metric(metric) = entry else { return None };
    let mut entry = Entry::Metric(metric.clone());
    edit_entry(&mut entry, &mut || ModelEdit::Drop);
    let Entry::Metric(metric) = entry else { return None };
    Some(metric.encode_to_vec())
}

/// An edit of the attributes of a resource or an item.
#[derive(Debug, Clone)]
pub enum AttributeEdit {
    Insert(&'static str, Value),
    Update(&'static str, Value),
    Upsert(&'static str, Value),
    Delete(&'static str),
    /// Keeps the attributes whose value is a string.
    RetainStrings,
}

impl AttributeEdit {
    /// Does it to bytes.
    pub fn apply(&self, attributes: &mut Attributes<'_>) {
        match self {
            Self::Insert(key, value) => {
                attributes.insert(&Attribute::new(*key, value.clone()));
            }
            Self::Update(key, value) => {
                attributes.update(&Attribute::new(*key, value.clone()));
            }
            Self::Upsert(key, value) => attributes.upsert(&Attribute::new(*key, value.clone())),
            Self::Delete(key) => {
                attributes.delete(key);
            }
            Self::RetainStrings => attributes.retain(|_, value| value.as_str().is_some()),
        }
    }

    /// Does it to the resource of a tree; one without a resource gets it when an attribute is put in.
    pub fn apply_to_model(&self, resource: &mut Option<Resource>) {
        if let Some(resource) = resource {
            return self.apply_to_pairs(&mut resource.attributes);
        }
        let mut attributes = Vec::new();
        self.apply_to_pairs(&mut attributes);
        if !attributes.is_empty() {
            *resource = Some(Resource { attributes, ..Resource::default() });
        }
    }

    /// Does it to attributes of a tree.
    pub fn apply_to_pairs(&self, attributes: &mut Vec<KeyValue>) {
        match self {
            Self::Insert(key, value) | Self::Update(key, value) | Self::Upsert(key, value) => {
                let found = attributes.iter().position(|pair| pair.key == *key);
                let pair =
                    KeyValue { key: (*key).to_owned(), value: Some(any_value(value)), ..KeyValue::default() };
                match (self, found) {
                    (Self::Update(..) | Self::Upsert(..), Some(at)) => attributes[at] = pair,
                    (Self::Insert(..) | Self::Upsert(..), None) => attributes.push(pair),
                    _ => {}
                }
            }
            Self::Delete(key) => attributes.retain(|pair| pair.key != *key),
            Self::RetainStrings => attributes.retain(|pair| {
                let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
                matches!(value, Some(any_value::Value::StringValue(_)))
            }),
        }
    }
}

/// The attributes of every item of an entry.
pub fn item_attributes(entry: &mut Entry) -> Vec<&mut Vec<KeyValue>> {
    match entry {
        Entry::Span(span) => vec![&mut span.attributes],
        Entry::Log(record) => vec![&mut record.attributes],
        Entry::Metric(metric) => match &mut metric.data {
            None => Vec::new(),
            Some(Data::Gauge(data)) => data.data_points.iter_mut().map(|p| &mut p.attributes).collect(),
            Some(Data::Sum(data)) => data.data_points.iter_mut().map(|p| &mut p.attributes).collect(),
            Some(Data::Histogram(data)) => data.data_points.iter_mut().map(|p| &mut p.attributes).collect(),
            Some(Data::ExponentialHistogram(data)) => {
                data.data_points.iter_mut().map(|p| &mut p.attributes).collect()
            }
            Some(Data::Summary(data)) => data.data_points.iter_mut().map(|p| &mut p.attributes).collect(),
        },
    }
}

/// Edits the attributes of items on bytes and on a tree in the same way: some resources, scopes, metrics and items, in
/// turn, are left alone.
#[derive(Debug, Clone)]
pub struct ItemAttributeEdit {
    pub edits: Vec<AttributeEdit>,
    /// Who is edited, in turn.
    pub turns: Vec<bool>,
    turn: usize,
}

impl ItemAttributeEdit {
    pub fn new(edits: Vec<AttributeEdit>, turns: Vec<bool>) -> Self {
        Self { edits, turns, turn: 0 }
    }

    fn is_next(&mut self) -> bool {
        let next = self.turns.get(self.turn % self.turns.len().max(1));
        self.turn += 1;
        next.copied().unwrap_or(true)
    }

    /// Does it to a tree.
    pub fn apply_to_model(mut self, nodes: &mut [ResourceNode]) {
        for node in nodes {
            if !self.is_next() {
                continue;
            }
            for scope in &mut node.scopes {
                if !self.is_next() {
                    continue;
                }
                for entry in &mut scope.entries {
                    if matches!(entry, Entry::Metric(_)) && !self.is_next() {
                        continue;
                    }
                    for attributes in item_attributes(entry) {
                        if self.is_next() {
                            self.edits.iter().for_each(|edit| edit.apply_to_pairs(attributes));
                        }
                    }
                }
            }
        }
    }
}

impl EditAttributes for ItemAttributeEdit {
    fn resource(&mut self, _: ResourceView<'_>) -> bool {
        self.is_next()
    }

    fn scope(&mut self, _: ScopeView<'_>) -> bool {
        self.is_next()
    }

    fn metric(&mut self, _: MetricView<'_>) -> bool {
        self.is_next()
    }

    fn item(&mut self, _: Item<'_>, attributes: &mut Attributes<'_>) {
        if self.is_next() {
            self.edits.iter().for_each(|edit| edit.apply(attributes));
        }
    }
}

/// A value as prost has it.
pub fn any_value(value: &Value) -> AnyValue {
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
    let value = match value {
        Value::Empty => None,
        Value::Str(text) => Some(any_value::Value::StringValue(text.clone())),
        Value::Bool(value) => Some(any_value::Value::BoolValue(*value)),
        Value::Int(number) => Some(any_value::Value::IntValue(*number)),
        Value::Double(number) => Some(any_value::Value::DoubleValue(*number)),
        Value::Bytes(bytes) => Some(any_value::Value::BytesValue(bytes.clone())),
        Value::List(values) => {
            Some(any_value::Value::ArrayValue(ArrayValue { values: values.iter().map(any_value).collect() }))
        }
        Value::Map(pairs) => {
            let pair = |(key, value): &(String, Value)| KeyValue {
                key: key.clone(),
                value: Some(any_value(value)),
                ..KeyValue::default()
            };
            Some(any_value::Value::KvlistValue(KeyValueList { values: pairs.iter().map(pair).collect() }))
        }
    };
    AnyValue { value }
}

/// A value of prost's as ours.
pub fn value(any: Option<&AnyValue>) -> Value {
    match any.and_then(|any| any.value.as_ref()) {
        None | Some(any_value::Value::StringValueStrindex(_)) => Value::Empty,
        Some(any_value::Value::StringValue(text)) => Value::Str(text.clone()),
        Some(any_value::Value::BoolValue(value)) => Value::Bool(*value),
        Some(any_value::Value::IntValue(number)) => Value::Int(*number),
        Some(any_value::Value::DoubleValue(number)) => Value::Double(*number),
        Some(any_value::Value::BytesValue(bytes)) => Value::Bytes(bytes.clone()),
        Some(any_value::Value::ArrayValue(list)) => {
            Value::List(list.values.iter().map(|any| value(Some(any))).collect())
        }
        Some(any_value::Value::KvlistValue(map)) => {
            Value::Map(map.values.iter().map(|pair| (pair.key.clone(), value(pair.value.as_ref()))).collect())
        }
    }
}

/// Whether two values are the same, a NaN being the same as itself.
pub fn same(a: &Value, b: &Value) -> bool {
    any_value(a).encode_to_vec() == any_value(b).encode_to_vec()
}
