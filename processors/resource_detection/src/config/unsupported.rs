//! What the Go processor has and this one has not, refused by name.

use spanbridge_component::Unsupported;

/// Detectors that the Go processor has beside ours.
pub(crate) const DETECTORS: [&str; 21] = [
    "ecs",
    "elastic_beanstalk",
    "lambda",
    "azurecontainerapps",
    "heroku",
    "openshift",
    "dynatrace",
    "consul",
    "kubeadm",
    "hetzner",
    "akamai",
    "scaleway",
    "vultr",
    "oraclecloud",
    "digitalocean",
    "nova",
    "upcloud",
    "alibaba_ecs",
    "tencent_cvm",
    "ibmcloud_vpc",
    "ibmcloud_classic",
];

/// What to do instead.
pub(crate) const INSTEAD: &str =
    "set OTEL_RESOURCE_ATTRIBUTES and write env, or add attributes with the resource processor";

const NO_SUCH_DETECTOR: &str = "this version does not have the detector";
const NO_CLIENT_KEY: &str =
    "metadata services are asked directly and in plain text; of the client's keys there is timeout";
const NO_PACE: &str = "the API is asked twice at the start; there is nothing to pace";

const fn detector(path: &'static str) -> Unsupported {
    Unsupported { path, reason: NO_SUCH_DETECTOR }
}

const fn client(path: &'static str) -> Unsupported {
    Unsupported { path, reason: NO_CLIENT_KEY }
}

/// Keys of the Go processor that are refused by name.
pub(crate) static UNSUPPORTED: [Unsupported; 44] = [
    detector("alibaba_ecs"),
    detector("ecs"),
    detector("elasticbeanstalk"),
    detector("lambda"),
    detector("azurecontainerapps"),
    detector("consul"),
    detector("digitalocean"),
    detector("heroku"),
    detector("hetzner"),
    detector("ibmcloud_classic"),
    detector("ibmcloud_vpc"),
    detector("openshift"),
    detector("nova"),
    detector("oraclecloud"),
    detector("kubeadm"),
    detector("akamai"),
    detector("scaleway"),
    detector("tencent_cvm"),
    detector("upcloud"),
    detector("vultr"),
    client("endpoint"),
    client("proxy_url"),
    client("tls"),
    client("read_buffer_size"),
    client("write_buffer_size"),
    client("headers"),
    client("auth"),
    client("compression"),
    client("compression_params"),
    client("max_idle_conns"),
    client("max_idle_conns_per_host"),
    client("max_conns_per_host"),
    client("idle_conn_timeout"),
    client("disable_keep_alives"),
    client("http2_read_idle_timeout"),
    client("http2_ping_timeout"),
    client("cookies"),
    client("middlewares"),
    client("force_attempt_http2"),
    Unsupported { path: "gcp.labels", reason: "labels come from the Compute API, which is not asked" },
    Unsupported { path: "k8s_api.kube_api_qps", reason: NO_PACE },
    Unsupported { path: "k8s_api.kube_api_burst", reason: NO_PACE },
    Unsupported { path: "k8snode.kube_api_qps", reason: NO_PACE },
    Unsupported { path: "k8snode.kube_api_burst", reason: NO_PACE },
];
