//! A model in S3, read by executors that are processes. It needs a server, which `cluster/tests/s3` starts.

use std::env;
use std::fs;
use std::process::Command;
use std::sync::Arc;

use object_store::ObjectStoreExt;
use quantlens_ballista::{ModelTable, Partitions, report_rows};
use url::Url;

use super::models::{SCHEMES, assert_same, expected, model};
use super::processes::{Cluster, program};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a server: call cluster/tests/s3"]
async fn a_model_in_s3_has_the_report_of_its_files() {
    let bucket = env::var("QUANTLENS_TEST_BUCKET").expect("cluster/tests/s3 says where the server is");
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let expected = expected(&path, &SCHEMES);
    let variables = || env::vars().map(|(name, value)| (name.to_lowercase(), value));
    let (bucket_store, _) = object_store::parse_url_opts(&Url::parse(&bucket).unwrap(), variables()).unwrap();
    for file in fs::read_dir(&path).unwrap() {
        let file = file.unwrap().path();
        let name = format!("models/one/{}", file.file_name().unwrap().to_str().unwrap());
        bucket_store.put(&name.into(), fs::read(&file).unwrap().into()).await.unwrap();
    }

    let cluster = Cluster::new(2, folder.path());
    let context = cluster.context().await;
    let folder_url = format!("{bucket}/models/one");
    for (name, place, partitions) in [
        ("whole", folder_url.clone(), Partitions::default()),
        ("cut", folder_url.clone(), Partitions::PerTensor(7)),
        ("shard", format!("{folder_url}/model-00002-of-00002.safetensors"), Partitions::PerTensor(2)),
    ] {
        context.register_table(name, Arc::new(ModelTable::open(&place, partitions).unwrap())).unwrap();
        let found = report_rows(&context, name, &SCHEMES).await.unwrap();
        let shard = ["long", "zero", "one"];
        let expected: Vec<_> =
            expected.iter().filter(|row| name != "shard" || shard.contains(&row.tensor.as_str())).cloned().collect();
        assert_same(&found, &expected);
    }

    // As its user asks for it: what the cluster reads there is what the program reads here.
    let report = |place: &str, more: &[&str]| {
        let output =
            Command::new(program()).args(["report", place, "--scheme", "int8-sym-axis0,mxfp4"]).args(more).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let here = report(path.to_str().unwrap(), &["--tensor", "dense.*"]);
    assert_eq!(report(&folder_url, &["--tensor", "dense.*", "--cluster", &cluster.address()]), here);

    let missing = ModelTable::open(&format!("{bucket}/models/two"), Partitions::default()).unwrap_err().to_string();
    assert!(missing.contains("/models/two` cannot be opened: there is no such object"), "{missing}");
    // What is there when the report is planned may be gone when an executor reads it.
    for file in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
        bucket_store.delete(&format!("models/one/{file}").into()).await.unwrap();
    }
    let gone = report_rows(&context, "cut", &["int8-sym"]).await.unwrap_err().to_string();
    assert!(gone.contains("models/one"), "{gone}");
}
