//! What becomes of it while the API server is in trouble.

use super::*;

const FROM: [(&str, &str); 1] = [("k8s.pod.ip", "10.0.0.1")];

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_at_the_start_holds_nothing_up_and_is_found_later() {
    let mut api = Api::start().await;
    api.put("pods", pod("web-1", "10.0.0.1"));
    api.stop().await;
    let mut cluster = Cluster::with(api, "");
    let enriched = cluster.enriched(&FROM).await;
    assert_eq!(enriched, [text("k8s.pod.ip", "10.0.0.1")], "telemetry flows as it came");
    cluster.collector.wait_for_line("the API server cannot be reached");
    cluster.api.come_back();
    cluster.until(&FROM, "k8s.pod.name", Some("web-1")).await;
    cluster.collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_leaves_what_is_known_and_its_news_are_caught_up_with() {
    let api = Api::start().await;
    api.put("pods", pod("web-1", "10.0.0.1"));
    let mut cluster = Cluster::with(api, "");
    cluster.until(&FROM, "k8s.pod.name", Some("web-1")).await;
    cluster.api.until("a watch", |api| api.store().watches() == 1).await;
    cluster.api.stop().await;
    assert_eq!(data::text_of(&cluster.enriched(&FROM).await, "k8s.pod.name"), Some("web-1"));
    cluster.api.put("pods", pod("web-2", "10.0.0.2"));
    cluster.api.come_back();
    cluster.until(&[("k8s.pod.ip", "10.0.0.2")], "k8s.pod.name", Some("web-2")).await;
    assert_eq!(cluster.api.count("list", "pods"), 1, "the watch goes on where it ended");
    cluster.collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_the_server_has_forgotten_leads_to_a_new_list() {
    let api = Api::start().await;
    api.put("pods", pod("gone", "10.0.0.1"));
    let mut cluster = Cluster::with(api, ", pod_delete_grace_period: 0s");
    cluster.until(&FROM, "k8s.pod.name", Some("gone")).await;
    cluster.api.until("a watch", |api| api.store().watches() == 1).await;
    {
        let mut store = cluster.api.store();
        store.disconnect();
        store.delete("pods", "shop", "gone");
        store.put("pods", pod("new", "10.0.0.2"));
        store.compact();
    }
    cluster.until(&[("k8s.pod.ip", "10.0.0.2")], "k8s.pod.name", Some("new")).await;
    cluster.until(&FROM, "k8s.pod.name", None).await;
    assert_eq!(cluster.api.count("list", "pods"), 2);
    cluster.collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn bookmarks_keep_a_quiet_watch_from_being_forgotten() {
    let api = Api::start().await;
    api.put("pods", pod("web-1", "10.0.0.1"));
    let mut cluster = Cluster::with(api, "");
    cluster.until(&FROM, "k8s.pod.name", Some("web-1")).await;
    cluster.api.until("a watch", |api| api.store().watches() == 1).await;
    {
        let mut store = cluster.api.store();
        // What this watch is not told of moves the version of the cluster on.
        store.put("nodes", fixtures::node("node-9", ""));
        store.bookmark();
        store.compact();
    }
    // An event after the bookmark, so that the bookmark has been read when it has.
    cluster.api.put("pods", pod("web-2", "10.0.0.2"));
    cluster.until(&[("k8s.pod.ip", "10.0.0.2")], "k8s.pod.name", Some("web-2")).await;
    cluster.api.store().disconnect();
    cluster.api.put("pods", pod("web-3", "10.0.0.3"));
    cluster.until(&[("k8s.pod.ip", "10.0.0.3")], "k8s.pod.name", Some("web-3")).await;
    let requests = cluster.api.requests();
    assert_eq!(cluster.api.count("list", "pods"), 1, "{requests:#?}");
    assert!(
        requests.iter().all(|asked| asked.verb == "list" || asked.query.contains("allowWatchBookmarks=true"))
    );
    cluster.collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_a_pause_gets_it() {
    let api = Api::start().await;
    api.put("pods", pod("web-1", "10.0.0.1"));
    api.throttle(1, 3);
    let asked = Instant::now();
    let mut cluster = Cluster::with(api, "");
    cluster.collector.wait_for_line("the API server asks for a pause");
    cluster.until(&FROM, "k8s.pod.name", Some("web-1")).await;
    assert!(asked.elapsed() >= Duration::from_secs(3), "{:?}", asked.elapsed());
    cluster.collector.stop();
}
