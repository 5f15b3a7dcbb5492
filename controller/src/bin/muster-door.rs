//! The door as a Lambda function: `bootstrap` of its zip.

// The futures of the SDK, of octocrab and of our own parts are deep in one another.
#![recursion_limit = "256"]

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    muster::drivers::serve::log_to_stderr();
    muster::aws::door::run().await
}
