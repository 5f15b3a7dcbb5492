-- wrk: posts the deliveries that deliveries.py has signed, each once; every thread has its own part of them.
local folder = os.getenv("MUSTER_BENCH_FOLDER")
local threads = 0

function setup(thread)
    thread:set("part", threads)
    threads = threads + 1
end

local function whole(name)
    local file = assert(io.open(folder .. "/" .. name, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end

function init(args)
    head, tail = whole("head"), whole("tail")
    signed = assert(io.open(folder .. "/signed", "r"))
    if part > 0 then signed:read("*l") end
end

function request()
    local line = signed:read("*l")
    if line then
        signed:read("*l")
    else
        wrk.thread:stop()
        line = last
    end
    last = line
    local id, signature = line:match("^(%d+) (%x+)$")
    return wrk.format("POST", nil, {
        ["Content-Type"] = "application/json",
        ["X-GitHub-Event"] = "workflow_job",
        ["X-GitHub-Delivery"] = id,
        ["X-Hub-Signature-256"] = "sha256=" .. signature,
    }, head .. id .. tail)
end
