//! The scaler as a Lambda function: `bootstrap` of its zip.

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    muster::drivers::serve::log_to_stderr();
    muster::aws::scaler::run().await
}
