//! Ballista's scheduler and executor inside this process: plans, tables and parts of reports travel as bytes.

use std::sync::Arc;

use quantlens_ballista::{ModelTable, Partitions, cluster, report_rows};

use super::models::{SCHEMES, assert_same, expected, model};

#[tokio::test(flavor = "multi_thread")]
async fn the_report_is_the_librarys() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let expected = expected(&path, &SCHEMES);
    let context = cluster::standalone().await.unwrap();
    for (name, partitions) in [("whole", Partitions::default()), ("cut", Partitions::PerTensor(7))] {
        let table = ModelTable::open(path.to_str().unwrap(), partitions).unwrap();
        context.register_table(name, Arc::new(table)).unwrap();
        assert_same(&report_rows(&context, name, &SCHEMES).await.unwrap(), &expected);
    }
    let query = "SELECT tensor, quant_report(tile, 'mxfp4') FROM cut GROUP BY number, tensor";
    let rows: usize = context.sql(query).await.unwrap().collect().await.unwrap().iter().map(|batch| batch.num_rows()).sum();
    assert_eq!(rows, 6);
}
