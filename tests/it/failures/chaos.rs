//! One short storm of the chaos suite, the same code as `make chaos`: everything goes wrong at once, and nothing is lost or doubled.

use anyhow::Result;
use longshore_tests::chaos::plan::Plan;
use longshore_tests::chaos::storm;

#[tokio::test(flavor = "multi_thread")]
async fn in_a_storm_of_faults_no_job_is_lost_and_no_effect_is_doubled() -> Result<()> {
    let report = storm(&Plan::short(20_261_126)).await?;
    println!("{report}");
    report.truth.verdict()
}
