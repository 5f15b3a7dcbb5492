//! Every kind of mistake in a configuration: where it is told, and in which words.
//!
//! A case replaces parts of a good file. `#!` marks the line of the error. The words are in the snapshot.

use muster_core::config::{Diagnostic, FleetConfig};

const GOOD: &str = r#"[github]
organization = "acme"
webhook_secrets = ["env:S"]
[[github.app]]
id = 1
private_key = "env:K"
[fleet]
max_runners = 10
[[pool]]
name = "linux"
os = "linux"
arch = "x64"
labels = ["self-hosted", "linux"]
markets = ["spot", "on-demand"]
default_market = "spot"
default_size = "cpu-2"
[pool.sizes.cpu-2]
instance_types = ["c7i.large", "c7a.large"]
[pool.sizes.cpu-8]
vcpus = 8
[[pool]]
name = "mac"
os = "macos"
arch = "arm64"
[pool.sizes.m2]
instance_types = ["mac2.metal"]
"#;

/// (key of the error, what to replace by what)
type Case = (&'static str, &'static [(&'static str, &'static str)]);

const ERRORS: &[Case] = &[
    // TOML itself
    ("fleet.max_runners", &[("max_runners = 10", "max_runners = = 10 #!")]),
    ("pool[0].os", &[("os = \"linux\"", "os = \"linux\"\nos = \"linux\" #!")]),
    ("pool[0].sizes.cpu-2", &[("[pool.sizes.cpu-8]", "[pool.sizes.cpu-2] #!")]),
    ("github.webhook_secrets", &[("[\"env:S\"]", "hunter2 #!")]),
    ("github.webhook_secrets", &[("[\"env:S\"]", "[hunter2] #!")]),
    ("github.webhook_secrets", &[("[\"env:S\"]", "[\"hunter2\\q\"] #!")]),
    ("github.webhook_secrets", &[("[\"env:S\"]", "[\"hunter2] #!")]),
    // Accounts in AWS
    ("aws.region", &[("[fleet]", "[aws]\nregion = \"frankfurt\" #!\n[fleet]")]),
    ("aws.subnets[0]", &[("[fleet]", "[aws]\nsubnets = [\"sg-0123456789abcdef0\"] #!\n[fleet]")]),
    ("aws.subnets[1]", &[("[fleet]", "[aws]\nsubnets = [\"subnet-01234567\",\n\"subnet-01234567\"] #!\n[fleet]")]),
    ("aws.instance_profile", &[("[fleet]", "[aws]\ninstance_profile = \"runner\" #!\n[fleet]")]),
    ("aws.images.linux-x64", &[("[fleet]", "[aws.images]\nlinux-x64 = \"ubuntu\" #!\n[fleet]")]),
    ("aws.images.linux-x86", &[("[fleet]", "[aws.images]\nlinux-x86 = \"ami-0123456789abcdef0\" #!\n[fleet]")]),
    ("aws.root_initialization_mibps", &[("[fleet]", "[aws]\nroot_initialization_mibps = 400 #!\n[fleet]")]),
    (
        "aws.account[0].role",
        &[(
            "[fleet]",
            "[[aws.account]]\nname = \"b\"\nrole = \"muster\" #!\nsubnets = []\ninstance_profile = \"arn:aws:iam::123456789012:instance-profile/r\"\n[fleet]",
        )],
    ),
    (
        "aws.account[0].subnets",
        &[(
            "[fleet]",
            "[[aws.account]] #!\nname = \"b\"\nrole = \"arn:aws:iam::123456789012:role/m\"\ninstance_profile = \"arn:aws:iam::123456789012:instance-profile/r\"\n[fleet]",
        )],
    ),
    (
        "aws.account[0].external_id",
        &[(
            "[fleet]",
            "[[aws.account]]\nname = \"b\"\nrole = \"arn:aws:iam::123456789012:role/m\"\nexternal_id = \"a b\" #!\nsubnets = [\"subnet-01234567\"]\ninstance_profile = \"arn:aws:iam::123456789012:instance-profile/r\"\n[fleet]",
        )],
    ),
    ("pool[0].account", &[("labels = [", "account = \"elsewhere\" #!\nlabels = [")]),
    // Logs
    ("logs.bucket", &[("[fleet]", "[logs] #!\nprefix = \"a\"\n[fleet]")]),
    ("logs.bucket", &[("[fleet]", "[logs]\nbucket = \"s3://acme\" #!\n[fleet]")]),
    ("logs.bucket", &[("[fleet]", "[logs]\nbucket = \"acme-\" #!\n[fleet]")]),
    ("logs.prefix", &[("[fleet]", "[logs]\nbucket = \"acme\"\nprefix = \"/a\" #!\n[fleet]")]),
    ("logs.prefix", &[("[fleet]", "[logs]\nbucket = \"acme\"\nprefix = \"a/../b\" #!\n[fleet]")]),
    ("logs.prefix", &[("[fleet]", "[logs]\nbucket = \"acme\"\nprefix = \"\" #!\n[fleet]")]),
    ("logs.max_mib", &[("[fleet]", "[logs]\nbucket = \"acme\"\nmax_mib = 0 #!\n[fleet]")]),
    ("logs.max_mib", &[("[fleet]", "[logs]\nbucket = \"acme\"\nmax_mib = 17 #!\n[fleet]")]),
    ("logs.max_mb", &[("[fleet]", "[logs]\nbucket = \"acme\"\nmax_mb = 4 #!\n[fleet]")]),
    // Unknown keys, wrong types
    ("flet", &[("[fleet]", "[flet] #!")]),
    ("fleet.max_runner", &[("max_runners = 10", "max_runner = 10 #!")]),
    ("pool[0]", &[("labels = [", "labels #!\n = [")]),
    ("pool[0].lables", &[("labels = [\"self-hosted\", \"linux\"]", "lables = [] #!")]),
    ("pool[0].sizes.cpu-8.colour", &[("vcpus = 8", "vcpus = 8\ncolour = 1 #!")]),
    ("pool[0].idle.mim", &[("arch = \"x64\"", "arch = \"x64\"\nidle = { mim = 1 } #!")]),
    ("github.token", &[("[[github.app]]", "token = \"x\" #!\n[[github.app]]")]),
    ("metrics.dimensions[1]", &[("[fleet]", "[metrics]\ndimensions = [\"event\",\n\"events\"] #!\n[fleet]")]),
    ("metrics.dimensions[1]", &[("[fleet]", "[metrics]\ndimensions = [\"event\",\n\"event\"] #!\n[fleet]")]),
    ("fleet.max_runners", &[("max_runners = 10", "max_runners = \"10\" #!")]),
    ("fleet.max_runners", &[("max_runners = 10", "max_runners = 1.5 #!")]),
    ("pool[0].labels", &[("labels = [\"self-hosted\", \"linux\"]", "labels = \"linux\" #!")]),
    ("pool[0].labels[1]", &[("\"linux\"]", "\n7] #!")]),
    ("pool[0].public_repositories", &[("arch = \"x64\"", "arch = \"x64\"\npublic_repositories = \"yes\" #!")]),
    ("pool[0].idle", &[("arch = \"x64\"", "arch = \"x64\"\nidle = 4 #!")]),
    ("pool[0].name", &[("name = \"linux\"", "name = 2026-11-22 #!")]),
    ("pool", &[("[[pool]]\nname = \"linux\"", "[pool] #!\nname = \"linux\""), ("[[pool]]\nname = \"mac\"", "[mac]")]),
    ("pool[0].priority", &[("arch = \"x64\"", "arch = \"x64\"\npriority = true #!")]),
    // Numbers
    ("fleet.max_runners", &[("max_runners = 10", "max_runners = -1 #!")]),
    ("fleet.max_runners", &[("max_runners = 10", "max_runners = 99999999999999999999 #!")]),
    ("fleet.budget_usd_per_hour", &[("max_runners = 10", "budget_usd_per_hour = -0.5 #!")]),
    ("fleet.budget_usd_per_hour", &[("max_runners = 10", "budget_usd_per_hour = nan #!")]),
    ("fleet.budget_usd_per_hour", &[("max_runners = 10", "budget_usd_per_hour = inf #!")]),
    ("pool[0].max_job_hours", &[("arch = \"x64\"", "arch = \"x64\"\nmax_job_hours = 0 #!")]),
    ("pool[0].rerun_interrupted", &[("arch = \"x64\"", "arch = \"x64\"\nrerun_interrupted = 11 #!")]),
    ("pool[0].sizes.cpu-8.vcpus", &[("vcpus = 8", "vcpus = 0 #!")]),
    ("pool[0].idle.min", &[("arch = \"x64\"", "arch = \"x64\"\nidle = { min = -1 } #!")]),
    ("pool[0].idle.max", &[("arch = \"x64\"", "arch = \"x64\"\nidle = { min = 5, max = 4 } #!")]),
    ("pool[0].standby.max", &[("arch = \"x64\"", "arch = \"x64\"\nstandby = { min = 5, max = 4 } #!")]),
    ("pool[0].sizes.cpu-8.idle.max", &[("vcpus = 8", "vcpus = 8\nidle = { min = 5, max = 4 } #!")]),
    ("pool[0].sizes.cpu-8.usd_per_hour.spot", &[("vcpus = 8", "vcpus = 8\nusd_per_hour = { spot = -1 } #!")]),
    // What a pool gives its runners
    (
        "pool[0].runner.hook_job_start",
        &[("[pool.sizes.cpu-2]", "[pool.runner]\nhook_job_start = \"/a/b.sh\" #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].runner.hook_job_started",
        &[("[pool.sizes.cpu-2]", "[pool.runner]\nhook_job_started = \"hooks/started.sh\" #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].runner.hook_job_completed",
        &[("[pool.sizes.cpu-2]", "[pool.runner]\nhook_job_completed = \"/hooks/completed\" #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].runner.proxy",
        &[("[pool.sizes.cpu-2]", "[pool.runner]\nproxy = \"proxy.acme.example:3128\" #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].runner.proxy",
        &[("[pool.sizes.cpu-2]", "[pool.runner]\nproxy = \"http://user:hunter2@proxy:3128\" #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].runner.proxy",
        &[("[pool.sizes.cpu-2]", "[pool.runner]\nproxy = \"http://proxy:3128/path\" #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].runner.no_proxy",
        &[("[pool.sizes.cpu-2]", "[pool.runner]\nno_proxy = [\"acme.example\"] #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].runner.no_proxy[0]",
        &[(
            "[pool.sizes.cpu-2]",
            "[pool.runner]\nproxy = \"http://proxy:1\"\nno_proxy = [\"a,b\"] #!\n[pool.sizes.cpu-2]",
        )],
    ),
    (
        "pool[0].runner.extra_ca",
        &[("[pool.sizes.cpu-2]", "[pool.runner]\nextra_ca = \"file:ca.pem\" #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].runner.extra_ca",
        &[(
            "[pool.sizes.cpu-2]",
            "[pool.runner]\nextra_ca = \"-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\" #!\n[pool.sizes.cpu-2]",
        )],
    ),
    (
        "pool[0].runner.extra_ca",
        &[(
            "[pool.sizes.cpu-2]",
            "[pool.runner]\nextra_ca = \"-----BEGIN PRIVATE KEY-----\\nhunter2\\n-----END PRIVATE KEY-----\" #!\n[pool.sizes.cpu-2]",
        )],
    ),
    (
        "pool[0].runner.environment",
        &[("[pool.sizes.cpu-2]", "[pool.runner]\nenvironment = [\"GOPROXY=https://a\"] #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].runner.environment.GOPROXY",
        &[("[pool.sizes.cpu-2]", "[pool.runner]\nenvironment = { GOPROXY = 1 } #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].runner.environment.GO-PROXY",
        &[("[pool.sizes.cpu-2]", "[pool.runner]\nenvironment = { \"GO-PROXY\" = \"a\" } #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].runner.environment.https_proxy",
        &[(
            "[pool.sizes.cpu-2]",
            "[pool.runner]\nenvironment = { https_proxy = \"http://proxy:1\" } #!\n[pool.sizes.cpu-2]",
        )],
    ),
    (
        "pool[0].runner.environment.ACTIONS_RUNNER_HOOK_JOB_STARTED",
        &[(
            "[pool.sizes.cpu-2]",
            "[pool.runner]\nenvironment = { ACTIONS_RUNNER_HOOK_JOB_STARTED = \"/a.sh\" } #!\n[pool.sizes.cpu-2]",
        )],
    ),
    (
        "pool[0].runner.environment.LD_PRELOAD",
        &[("[pool.sizes.cpu-2]", "[pool.runner]\nenvironment = { LD_PRELOAD = \"/a.so\" } #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].runner.environment.PIP_INDEX_URL",
        &[(
            "[pool.sizes.cpu-2]",
            "[pool.runner]\nenvironment = { PIP_INDEX_URL = \"https://user:hunter2@pypi.acme.example/simple\" } #!\n[pool.sizes.cpu-2]",
        )],
    ),
    (
        "pool[0].runner.environment.A",
        &[("[pool.sizes.cpu-2]", "[pool.runner]\nenvironment = { A = \"a\\nb\" } #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].runner.docker_data_root",
        &[("[pool.sizes.cpu-2]", "[pool.runner]\ndocker_data_root = \"data/docker\" #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].runner.docker_data_root",
        &[("[pool.sizes.cpu-2]", "[pool.runner]\ndocker_data_root = \"/data/../etc\" #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].runner.docker_mirrors[0]",
        &[(
            "[pool.sizes.cpu-2]",
            "[pool.runner]\ndocker_mirrors = [\"https://mirror.acme.example/v2\"] #!\n[pool.sizes.cpu-2]",
        )],
    ),
    (
        "pool[1].runner.docker_data_root",
        &[("[pool.sizes.m2]", "[pool.runner]\ndocker_data_root = \"/data/docker\" #!\n[pool.sizes.m2]")],
    ),
    ("pool[1].runner.extra_ca", &[("[pool.sizes.m2]", "[pool.runner]\nextra_ca = \"x\" #!\n[pool.sizes.m2]")]),
    // GitHub
    (
        "github",
        &[(
            "[github]\norganization = \"acme\"\nwebhook_secrets = [\"env:S\"]\n[[github.app]]\nid = 1\nprivate_key = \"env:K\"\n[fleet]",
            "[fleet] #!",
        )],
    ),
    ("github", &[("[github]\norganization = \"acme\"", "[github] #!")]),
    ("github.enterprise", &[("organization = \"acme\"", "organization = \"acme\"\nenterprise = \"acme\" #!")]),
    ("github.repository", &[("organization = \"acme\"", "organization = \"acme\"\nrepository = \"acme/api\" #!")]),
    ("github.organization", &[("organization = \"acme\"", "organization = \"acme corp\" #!")]),
    ("github.repository", &[("organization = \"acme\"", "repository = \"api\" #!")]),
    ("github.api_url", &[("[[github.app]]", "api_url = \"http://api.github.com\" #!\n[[github.app]]")]),
    ("github.api_url", &[("[[github.app]]", "api_url = \"https://github.com\" #!\n[[github.app]]")]),
    ("github.api_url", &[("[[github.app]]", "api_url = \"api.github.com\" #!\n[[github.app]]")]),
    ("github.api_url", &[("[[github.app]]", "api_url = \"https://me:hunter2@ghe.io/api/v3\" #!\n[[github.app]]")]),
    ("github.api_url", &[("[[github.app]]", "api_url = \"https:///api/v3\" #!\n[[github.app]]")]),
    ("github.api_url", &[("[[github.app]]", "api_url = \"https://ghe.io/api/v3?hunter2\" #!\n[[github.app]]")]),
    ("github.hook", &[("[[github.app]]", "hook = \"organization\" #!\n[[github.app]]")]),
    (
        "github.hook",
        &[
            ("organization = \"acme\"", "enterprise = \"acme\""),
            ("[[github.app]]", "hook = \"owner\" #!\n[[github.app]]"),
        ],
    ),
    ("github.webhook_secrets", &[("[github]", "[github] #!"), ("webhook_secrets = [\"env:S\"]\n", "")]),
    ("github.webhook_secrets", &[("[\"env:S\"]", "[] #!")]),
    ("github.webhook_secrets", &[("[\"env:S\"]", "[\"env:A\", \"env:B\", \"env:C\"] #!")]),
    ("github.webhook_secrets[1]", &[("[\"env:S\"]", "[\"env:S\",\n\"env:S\"] #!")]),
    ("github.webhook_secrets[0]", &[("[\"env:S\"]", "[\"hunter2\"] #!")]),
    ("github.webhook_secrets[0]", &[("[\"env:S\"]", "[\"evn:hunter2\"] #!")]),
    ("github.webhook_secrets[0]", &[("[\"env:S\"]", "[\"env:hunter2 hunter2\"] #!")]),
    ("github.webhook_secrets[0]", &[("[\"env:S\"]", "[\"env:ghp_hunter2\"] #!")]),
    ("github.webhook_secrets", &[("[\"env:S\"]", "\"hunter2\" #!")]),
    ("github.app[0].private_key", &[("\"env:K\"", "\"-----BEGIN RSA PRIVATE KEY-----\\nhunter2\" #!")]),
    ("github.app[0].private_key", &[("\"env:K\"", "\"file:\" #!")]),
    ("github.app[0].private_key", &[("[[github.app]]", "[[github.app]] #!"), ("private_key = \"env:K\"\n", "")]),
    ("github.app[0].id", &[("[[github.app]]", "[[github.app]] #!"), ("id = 1\n", "")]),
    ("github.app[0].id", &[("id = 1", "id = 0 #!")]),
    ("github.app[0].installation_id", &[("id = 1", "id = 1\ninstallation_id = \"7\" #!")]),
    ("github.app[1].id", &[("[fleet]", "[[github.app]]\nid = 1 #!\nprivate_key = \"env:K\"\n[fleet]")]),
    // Fleet
    ("fleet.name", &[("max_runners = 10", "name = \"a b\" #!")]),
    ("fleet.time_zone", &[("max_runners = 10", "time_zone = \"Europe/Berln\" #!")]),
    ("fleet.time_zone", &[("max_runners = 10", "time_zone = \"CEST+2\" #!")]),
    ("fleet.queue_time_target", &[("max_runners = 10", "queue_time_target = \"95% < 15s\" #!")]),
    ("fleet.queue_time_target", &[("max_runners = 10", "queue_time_target = \"p95 < 15\" #!")]),
    ("fleet.queue_time_target", &[("max_runners = 10", "queue_time_target = \"p100 < 15s\" #!")]),
    ("fleet.queue_time_target", &[("max_runners = 10", "queue_time_target = \"p95 < 0s\" #!")]),
    (
        "pool[0].sizes.cpu-2.usd_per_hour",
        &[
            ("[pool.sizes.cpu-2]", "[pool.sizes.cpu-2] #!"),
            ("max_runners = 10", "budget_usd_per_hour = 5"),
            ("vcpus = 8", "vcpus = 8"),
            ("[\"mac2.metal\"]", "[\"mac2.metal\"]\nusd_per_hour = { on-demand = 1 }"),
            ("[pool.sizes.cpu-8]\nvcpus = 8\n", ""),
        ],
    ),
    (
        "pool[0].sizes.cpu-2.usd_per_hour",
        &[
            ("max_runners = 10", "budget_usd_per_hour = 5"),
            ("\"c7a.large\"]", "\"c7a.large\"]\nusd_per_hour = { spot = 1 } #!"),
            ("[\"mac2.metal\"]", "[\"mac2.metal\"]\nusd_per_hour = { on-demand = 1 }"),
            ("vcpus = 8", "vcpus = 8\nusd_per_hour = { on-demand = 1 }\n"),
            ("\"c7i.large\", \"c7a.large\"", "\"c7i.metal\""),
        ],
    ),
    // Pool
    ("pool", &[("[[pool]]", "#[[pool]]")]),
    ("pool[0].name", &[("[[pool]]\nname = \"linux\"", "[[pool]] #!")]),
    ("pool[0].name", &[("name = \"linux\"", "name = \"li/nux\" #!")]),
    ("pool[1].name", &[("name = \"mac\"", "name = \"Linux\" #!")]),
    ("pool[0].os", &[("[[pool]]\nname = \"linux\"\nos = \"linux\"", "[[pool]] #!\nname = \"linux\"")]),
    ("pool[0].os", &[("os = \"linux\"", "os = \"linx\" #!")]),
    ("pool[0].arch", &[("arch = \"x64\"", "arch = \"amd64\" #!")]),
    ("pool[0].runner_group", &[("arch = \"x64\"", "arch = \"x64\"\nrunner_group = \"\" #!")]),
    ("pool[0].markets[0]", &[("markets = [\"spot\",", "markets = [\"sport\", \"spot\", #!\n")]),
    ("pool[0].markets[1]", &[("markets = [\"spot\",", "markets = [\"spot\",\n\"spot\", #!\n")]),
    ("pool[0].markets", &[("markets = [\"spot\", \"on-demand\"]\ndefault_market = \"spot\"", "markets = [] #!")]),
    (
        "pool[0].default_market",
        &[("[[pool]]\nname = \"linux\"", "[[pool]] #!\nname = \"linux\""), ("default_market = \"spot\"\n", "")],
    ),
    ("pool[0].default_market", &[("default_market = \"spot\"", "default_market = \"spot-then-on-demand\" #!")]),
    (
        "pool[0].default_size",
        &[("[[pool]]\nname = \"linux\"", "[[pool]] #!\nname = \"linux\""), ("default_size = \"cpu-2\"\n", "")],
    ),
    ("pool[0].default_size", &[("default_size = \"cpu-2\"", "default_size = \"cpu-3\" #!")]),
    ("pool[1].markets", &[("arch = \"arm64\"", "arch = \"arm64\"\nmarkets = [\"spot\"] #!")]),
    ("pool[1].standby", &[("arch = \"arm64\"", "arch = \"arm64\"\nstandby = { min = 1 } #!")]),
    ("pool[0].standby", &[("markets = [\"spot\", \"on-demand\"]", "markets = [\"spot\"]\nstandby = { max = 1 } #!")]),
    ("pool[0].standby.state", &[("arch = \"x64\"", "arch = \"x64\"\nstandby = { max = 1, state = \"running\" } #!")]),
    ("pool[0].labels", &[("labels = [\"self-hosted\", \"linux\"]", "labels = [] #!")]),
    ("pool[0].labels[0]", &[("\"self-hosted\"", "\"\"")]),
    ("pool[0].labels[0]", &[("\"self-hosted\"", "\"a,b\"")]),
    ("pool[0].labels[0]", &[("\"self-hosted\"", "\" a\"")]),
    ("pool[0].labels[0]", &[("\"self-hosted\"", "\"a\\tb\"")]),
    ("pool[0].labels[0]", &[("\"self-hosted\"", "\"a\\u0007b\"")]),
    ("pool[0].labels[1]", &[("\"self-hosted\"", "\"Linux\"")]),
    ("pool[0].labels[0]", &[("\"self-hosted\"", "\"On-Demand\"")]),
    ("pool[0].labels[0]", &[("\"self-hosted\"", "\"CPU-8\"")]),
    ("pool[0].repositories", &[("arch = \"x64\"", "arch = \"x64\"\nrepositories = [] #!")]),
    ("pool[0].repositories[0]", &[("arch = \"x64\"", "arch = \"x64\"\nrepositories = [\"acme\"] #!")]),
    (
        "pool[0].repositories[0]",
        &[("arch = \"x64\"", "arch = \"x64\"\nrepositories = [\"https://github.com/acme/api\"] #!")],
    ),
    (
        "pool[0].repositories",
        &[
            ("[[pool]]\nname = \"linux\"", "[[pool]] #!\nname = \"linux\""),
            ("organization", "enterprise"),
            ("arch = \"arm64\"", "arch = \"arm64\"\nrepositories = [\"*\"]"),
        ],
    ),
    ("pool[0].instance_type_labels[0]", &[("arch = \"x64\"", "arch = \"x64\"\ninstance_type_labels = [\"c7i\"] #!")]),
    // Sizes
    (
        "pool[0].sizes",
        &[
            ("[[pool]]\nname = \"linux\"", "[[pool]] #!\nname = \"linux\""),
            (
                "default_size = \"cpu-2\"\n[pool.sizes.cpu-2]\ninstance_types = [\"c7i.large\", \"c7a.large\"]\n[pool.sizes.cpu-8]\nvcpus = 8\n",
                "",
            ),
        ],
    ),
    (
        "pool[0].sizes",
        &[(
            "default_size = \"cpu-2\"\n[pool.sizes.cpu-2]\ninstance_types = [\"c7i.large\", \"c7a.large\"]\n[pool.sizes.cpu-8]\nvcpus = 8\n",
            "sizes = {} #!\n",
        )],
    ),
    ("pool[0].sizes.CPU-2", &[("[pool.sizes.cpu-8]", "[pool.sizes.CPU-2] #!")]),
    ("pool[0].sizes.spot", &[("[pool.sizes.cpu-8]", "[pool.sizes.spot] #!")]),
    ("pool[0].sizes.\"a/b\"", &[("[pool.sizes.cpu-8]", "[pool.sizes.\"a/b\"] #!")]),
    ("pool[0].sizes.cpu-8", &[("[pool.sizes.cpu-8]\nvcpus = 8", "[pool.sizes.cpu-8] #!\nmemory_gib = 8")]),
    ("pool[0].sizes.cpu-2.instance_types", &[("[\"c7i.large\", \"c7a.large\"]", "[] #!")]),
    ("pool[0].sizes.cpu-2.instance_types[1]", &[("\"c7a.large\"]", "\n\"c7a\"] #!")]),
    ("pool[0].sizes.cpu-2.instance_types[1]", &[("\"c7a.large\"]", "\n\"c7i.large\"] #!")]),
    ("pool[0].sizes.cpu-8.image", &[("vcpus = 8", "vcpus = 8\nimage = \" \" #!")]),
    ("pool[0].sizes.cpu-8.usd_per_hour.ondemand", &[("vcpus = 8", "vcpus = 8\nusd_per_hour = { ondemand = 1 } #!")]),
    // Schedules
    (
        "pool[0].schedule[0].when",
        &[("[pool.sizes.cpu-2]", "[[pool.schedule]] #!\nidle = { min = 1 }\n[pool.sizes.cpu-2]")],
    ),
    ("pool[0].schedule[0].when", &[("[pool.sizes.cpu-2]", "[[pool.schedule]]\nwhen = \"\" #!\n[pool.sizes.cpu-2]")]),
    (
        "pool[0].schedule[0].when",
        &[("[pool.sizes.cpu-2]", "[[pool.schedule]]\nwhen = \"mo-fri 07:00-19:00\" #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].schedule[0].when",
        &[("[pool.sizes.cpu-2]", "[[pool.schedule]]\nwhen = \"mon 7-19\" #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].schedule[0].when",
        &[("[pool.sizes.cpu-2]", "[[pool.schedule]]\nwhen = \"mon 07:00-24:01\" #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].schedule[0].when",
        &[("[pool.sizes.cpu-2]", "[[pool.schedule]]\nwhen = \"mon 24:00-07:00\" #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].schedule[0].when",
        &[("[pool.sizes.cpu-2]", "[[pool.schedule]]\nwhen = \"mon, wed 07:00-19:00\" #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].schedule[0].idle.min",
        &[
            ("arch = \"x64\"", "arch = \"x64\"\nidle = { max = 3 }"),
            ("[pool.sizes.cpu-2]", "[[pool.schedule]]\nwhen = \"mon\"\nidle = { min = 4 } #!\n[pool.sizes.cpu-2]"),
        ],
    ),
    (
        "pool[0].schedule[0].idle.max",
        &[
            ("arch = \"x64\"", "arch = \"x64\"\nidle = { min = 3 }"),
            ("[pool.sizes.cpu-2]", "[[pool.schedule]]\nwhen = \"mon\"\nidle = { max = 2 } #!\n[pool.sizes.cpu-2]"),
        ],
    ),
    (
        "pool[0].schedule[0].idle.max",
        &[(
            "[pool.sizes.cpu-2]",
            "[[pool.schedule]]\nwhen = \"mon\"\nidle = { min = 3, max = 2 } #!\n[pool.sizes.cpu-2]",
        )],
    ),
    (
        "pool[0].schedule[0].standby",
        &[
            ("markets = [\"spot\", \"on-demand\"]", "markets = [\"spot\"]"),
            (
                "[pool.sizes.cpu-2]",
                "[[pool.schedule]]\nwhen = \"mon\"\nstandby = { min = 1, max = 1 } #!\n[pool.sizes.cpu-2]",
            ),
        ],
    ),
];

const WARNINGS: &[Case] = &[
    ("github.app", &[("[github]", "[github] #!"), ("[[github.app]]\nid = 1\nprivate_key = \"env:K\"\n", "")]),
    ("github.api_url", &[("[[github.app]]", "api_url = \"https://ghe.io\" #!\n[[github.app]]")]),
    ("metrics.dimensions", &[("[fleet]", "[metrics]\ndimensions = [\"workflow\"] #!\n[fleet]")]),
    (
        "fleet.max_runners",
        &[
            ("max_runners = 10", "max_runners = 10 #!"),
            ("vcpus = 8", "vcpus = 8\nidle = { min = 6 }"),
            ("arch = \"x64\"", "arch = \"x64\"\nidle = { min = 5 }"),
        ],
    ),
    ("fleet.max_runners", &[("max_runners = 10", "max_runners = 0 #!")]),
    ("pool[0].max_runners", &[("arch = \"x64\"", "arch = \"x64\"\nmax_runners = 0 #!")]),
    ("pool[0].max_runners", &[("arch = \"x64\"", "arch = \"x64\"\nmax_runners = 11 #!")]),
    ("pool[0].idle.min", &[("arch = \"x64\"", "arch = \"x64\"\nmax_runners = 4\nidle = { min = 5 } #!")]),
    ("pool[0].idle.min", &[("arch = \"x64\"", "arch = \"x64\"\nidle = { min = 11 } #!")]),
    ("pool[0].sizes.cpu-8.idle.min", &[("vcpus = 8", "vcpus = 8\nidle = { min = 11 } #!")]),
    (
        "pool[0].schedule[0].idle.min",
        &[("[pool.sizes.cpu-2]", "[[pool.schedule]]\nwhen = \"mon\"\nidle = { min = 11 } #!\n[pool.sizes.cpu-2]")],
    ),
    ("pool[0].max_job_hours", &[("arch = \"x64\"", "arch = \"x64\"\nmax_job_hours = 121 #!")]),
    (
        "pool[0].runner.environment.NPM_TOKEN",
        &[("[pool.sizes.cpu-2]", "[pool.runner]\nenvironment = { NPM_TOKEN = \"a\" } #!\n[pool.sizes.cpu-2]")],
    ),
    (
        "pool[0].public_repositories",
        &[("arch = \"x64\"", "arch = \"x64\"\npublic_repositories = true #!\nrepositories = [\"*\"]")],
    ),
    ("pool[0].repositories[1]", &[("arch = \"x64\"", "arch = \"x64\"\nrepositories = [\"acme/*\",\n\"acne/*\"] #!")]),
    ("pool[1].labels", &[("arch = \"arm64\"", "arch = \"arm64\"\nlabels = [\"linux\", \"Self-Hosted\"] #!")]),
    ("pool[1].labels", &[("arch = \"arm64\"", "arch = \"arm64\"\nlabels = [\"self-hosted\"] #!")]),
    (
        "pool[1].labels",
        &[("arch = \"arm64\"", "arch = \"arm64\"\nlabels = [\"linux\"] #!"), ("[pool.sizes.m2]", "[pool.sizes.cpu-8]")],
    ),
    (
        "pool[0].labels",
        &[
            (
                "labels = [\"self-hosted\", \"linux\"]\nmarkets = [\"spot\", \"on-demand\"]\ndefault_market = \"spot\"",
                "labels = [\"self-hosted\", \"macos\"] #!\n",
            ),
            ("arch = \"arm64\"", "arch = \"arm64\"\npriority = 1"),
            (
                "[pool.sizes.m2]",
                "default_size = \"cpu-8\"\n[pool.sizes.cpu-8]\ninstance_types = [\"mac2.metal\"]\n[pool.sizes.cpu-2]",
            ),
        ],
    ),
    (
        "pool[0].schedule[0].when",
        &[(
            "[pool.sizes.cpu-2]",
            "[[pool.schedule]]\nwhen = \"mon 07:00-07:00\" #!\nidle = { min = 1 }\n[pool.sizes.cpu-2]",
        )],
    ),
    ("pool[0].schedule[0]", &[("[pool.sizes.cpu-2]", "[[pool.schedule]] #!\nwhen = \"mon\"\n[pool.sizes.cpu-2]")]),
    (
        "pool[0].schedule[0].when",
        &[(
            "[pool.sizes.cpu-2]",
            "[[pool.schedule]]\nwhen = \"sun 22:00-06:00\" #!\nidle = { min = 1 }\n[[pool.schedule]]\nwhen = \"daily\"\nidle = { min = 2, max = 3 }\n[pool.sizes.cpu-2]",
        )],
    ),
    ("pool[0].sizes.cpu-2.instance_types", &[("[\"c7i.large\", \"c7a.large\"]", "[\"c7i.large\"] #!")]),
    ("pool[0].sizes.cpu-2.instance_types[1]", &[("\"c7a.large\"]", "\n\"c7g.large\"] #!")]),
    ("pool[0].sizes.cpu-8.usd_per_hour", &[("vcpus = 8", "vcpus = 8\nusd_per_hour = { spot = 2, on-demand = 1 } #!")]),
    (
        "pool[0].sizes.cpu-2.usd_per_hour",
        &[("[pool.sizes.cpu-2]", "[pool.sizes.cpu-2] #!"), ("arch = \"x64\"", "arch = \"x64\"\nstandby = { max = 1 }")],
    ),
    (
        "pool[0].sizes.cpu-8.usd_per_hour",
        &[
            ("max_runners = 10", "budget_usd_per_hour = 1.5"),
            ("\"c7a.large\"]", "\"c7a.large\"]\nusd_per_hour = { spot = 0.1, on-demand = 0.2 }"),
            ("[pool.sizes.cpu-8]", "[pool.sizes.cpu-8] #!"),
            ("[\"mac2.metal\"]", "[\"mac2.metal\"]\nusd_per_hour = { on-demand = 1 }"),
        ],
    ),
    (
        "pool[1].sizes.m2.usd_per_hour",
        &[
            ("max_runners = 10", "budget_usd_per_hour = 1"),
            ("\"c7a.large\"]", "\"c7a.large\"]\nusd_per_hour = { spot = 0.1, on-demand = 0.2 }"),
            ("[\"mac2.metal\"]", "[\"mac2.metal\"]\nusd_per_hour = { on-demand = 1.1 } #!"),
        ],
    ),
    ("pool[1].os", &[("os = \"macos\"", "os = \"macos\" #!")]),
];

fn edited(case: &Case) -> String {
    case.1.iter().fold(GOOD.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in the text of the case {}", case.0);
        text.replace(from, to)
    })
}

fn marked_line(text: &str) -> Option<u32> {
    let place = text.lines().position(|line| line.contains("#!"))?;
    Some(u32::try_from(place + 1).expect("few lines"))
}

fn show(told: &[Diagnostic]) -> String {
    told.iter().map(|d| format!("  {d}\n")).collect()
}

#[test]
fn the_good_file_is_good() {
    let parsed = FleetConfig::parse("muster.toml", GOOD);
    assert_eq!(parsed.errors, []);
    assert_eq!(parsed.warnings.iter().map(|d| d.key.as_str()).collect::<Vec<_>>(), ["pool[1].os"]);
    assert!(parsed.config.is_some());
}

#[test]
fn every_mistake_is_told_with_line_key_and_remedy() {
    let mut shown = String::new();
    for case in ERRORS {
        let text = edited(case);
        let parsed = FleetConfig::parse("muster.toml", &text);
        assert!(parsed.config.is_none(), "{text}");
        let told = parsed.errors.iter().find(|d| d.key == case.0);
        let told = told.unwrap_or_else(|| panic!("no error at {}, but\n{}in\n{text}", case.0, show(&parsed.errors)));
        assert!(!told.message.is_empty() && !told.remedy.is_empty(), "{told}");
        assert_eq!(told.file, "muster.toml");
        if let Some(line) = marked_line(&text) {
            assert_eq!(told.line, line, "{told}\n{text}");
        }
        let all = show(&parsed.errors) + &show(&parsed.warnings);
        assert!(!all.contains("hunter2"), "a secret is shown: {all}");
        shown.push_str(&format!("{:?}\n{}", case.1, show(&parsed.errors)));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn every_warning_is_told_and_refuses_nothing() {
    let mut shown = String::new();
    for case in WARNINGS {
        let text = edited(case);
        let parsed = FleetConfig::parse("muster.toml", &text);
        assert_eq!(parsed.errors, [], "{text}");
        let told = parsed.warnings.iter().find(|d| d.key == case.0 && Some(d.line) == marked_line(&text));
        assert!(told.is_some(), "no warning at {}, but\n{}in\n{text}", case.0, show(&parsed.warnings));
        // The note on Macs belongs to the good file; it is shown once, in its own case.
        let own = |d: &&Diagnostic| d.key != "pool[1].os" || case.0 == d.key;
        let warnings: Vec<Diagnostic> = parsed.warnings.iter().filter(own).cloned().collect();
        shown.push_str(&format!("{:?}\n{}", case.1, show(&warnings)));
    }
    insta::assert_snapshot!(shown);
}

/// A pool with the labels of an earlier one is still reached by the jobs that the earlier one does not take.
#[test]
fn a_pool_with_jobs_of_its_own_is_reached() {
    let twin = |first: &str, second: &str| {
        let pool = |name: &str, more: &str| {
            format!("[[pool]]\nname = \"{name}\"\nos = \"linux\"\narch = \"x64\"\n{more}\n[pool.sizes.a]\nvcpus = 2\n")
        };
        let text = format!("{GOOD}{}{}", pool("first", first), pool("second", second));
        let parsed = FleetConfig::parse("f", &text);
        assert_eq!(parsed.errors, []);
        let told = parsed.warnings.into_iter().find(|d| d.key == "pool[3].labels").map(|d| d.message);
        told.map_or("fine", |message| if message.starts_with("no job") { "unreached" } else { "shadowed" })
    };
    assert_eq!(twin("", ""), "unreached");
    assert_eq!(twin("repositories = [\"*\"]", "repositories = [\"acme/api\"]"), "unreached");
    assert_eq!(twin("repositories = [\"acme/api\"]", ""), "shadowed");
    assert_eq!(twin("repositories = [\"acme/api\"]", "repositories = [\"acme/web\"]"), "fine");
    assert_eq!(twin("", "public_repositories = true"), "shadowed");
    assert_eq!(twin("", "serves_group_jobs = true"), "shadowed");
    assert_eq!(twin("", "instance_type_labels = [\"c7i.*\"]"), "shadowed");
    assert_eq!(twin("instance_type_labels = [\"c*\"]", "instance_type_labels = [\"c7i.*\"]"), "unreached");
    assert_eq!(twin("", "markets = [\"spot\"]"), "shadowed");
    assert_eq!(twin("", "labels = [\"self-hosted\"]"), "unreached");
    assert_eq!(twin("", "labels = [\"self-hosted\", \"gpu\"]"), "fine");
}

#[test]
fn one_reading_tells_many_mistakes() {
    let text = "[github]\nenterprise = 7\nwebhook_secrets = []\n[flet]\n[[pool]]\nname = \"a\"\nos = \"beos\"\n\
                [pool.sizes.x]\n[[pool]]\nos = \"linux\"\narch = \"x64\"\n";
    let parsed = FleetConfig::parse("muster.toml", text);
    let keys: Vec<(u32, &str)> = parsed.errors.iter().map(|d| (d.line, d.key.as_str())).collect();
    assert_eq!(
        keys,
        [
            (2, "github.enterprise"),
            (3, "github.webhook_secrets"),
            (4, "flet"),
            (5, "pool[0].arch"),
            (7, "pool[0].os"),
            (8, "pool[0].sizes.x"),
            (9, "pool[1].name"),
            (9, "pool[1].sizes"),
        ]
    );
}

#[test]
fn too_many_of_anything_is_an_error() {
    let label = |n: usize| GOOD.replace("\"self-hosted\"", &format!("\"{}\"", "x".repeat(n)));
    assert!(FleetConfig::parse("f", &label(256)).config.is_some());
    assert!(FleetConfig::parse("f", &label(257)).errors[0].message.contains("256"));

    let labels = |n: usize| {
        let many: String = (0..n).map(|i| format!("\"l{i}\",")).collect();
        GOOD.replace("\"self-hosted\", \"linux\"", &many)
    };
    assert!(FleetConfig::parse("f", &labels(98)).config.is_some());
    assert_eq!(FleetConfig::parse("f", &labels(99)).errors[0].key, "pool[0].labels");

    let types: String = (0..41).map(|i| format!("\"c{i}i.large\",")).collect();
    let errors = FleetConfig::parse("f", &GOOD.replace("\"c7i.large\", \"c7a.large\"", &types)).errors;
    assert_eq!(errors[0].key, "pool[0].sizes.cpu-2.instance_types");

    let pool = |i: usize| {
        format!(
            "[[pool]]\nname = \"p{i}\"\nos = \"linux\"\narch = \"x64\"\nlabels = [\"l{i}\"]\n[pool.sizes.a]\nvcpus = 1\n"
        )
    };
    let many: String = (0..501).map(pool).collect();
    assert_eq!(FleetConfig::parse("f", &format!("{GOOD}{many}")).errors[0].key, "pool");

    let sizes: String = (0..2_000).map(|i| format!("[pool.sizes.s{i}]\nvcpus = 1\n")).collect();
    let errors = FleetConfig::parse("f", &GOOD.replace("[pool.sizes.m2]", &format!("{sizes}[pool.sizes.m2]"))).errors;
    assert!(errors.iter().any(|d| d.message.contains("classes")), "{}", show(&errors));

    let errors = FleetConfig::parse("f", &"#".repeat(1024 * 1024 + 1)).errors;
    assert_eq!((errors.len(), errors[0].line), (1, 1));
}

#[test]
fn a_diagnostic_has_exactly_the_documented_names() {
    let parsed = FleetConfig::parse("muster.toml", "x = 1");
    let json = serde_json::to_value(&parsed.errors[0]).unwrap();
    let names: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["file", "key", "line", "message", "remedy"]);
}

#[test]
fn warm_pools_of_one_shape_agree_on_their_state() {
    let twin = "[[pool]]\nname = \"b\"\nos = \"linux\"\narch = \"x64\"\nlabels = [\"b\"]\n\
                standby = { max = 1, state = \"hibernated\" }\n[pool.sizes.x]\n\
                instance_types = [\"c7i.large\", \"c7a.large\"]\n";
    let text = GOOD.replace("arch = \"x64\"", "arch = \"x64\"\nstandby = { max = 1 }") + twin;
    let errors = FleetConfig::parse("f", &text).errors;
    assert_eq!(errors[0].key, "pool[2].standby.state");
    assert!(FleetConfig::parse("f", &text.replace("hibernated", "stopped")).errors.is_empty());
}
