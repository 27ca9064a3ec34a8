mod relay;
pub(super) async fn run(_: super::args::Demo) -> anyhow::Result<()> {
    anyhow::bail!("being written")
}
