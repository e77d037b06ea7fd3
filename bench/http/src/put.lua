-- Puts 1 KiB under keys that were never used before.
-- Arguments: a word that no other run uses.
local threads = 0

function setup(thread)
    thread:set("id", threads)
    threads = threads + 1
end

function init(args)
    run, n = args[1], 0
    math.randomseed(id + 1)
    local bytes = {}
    for i = 1, 8192 do
        bytes[i] = string.char(math.random(0, 255))
    end
    noise = table.concat(bytes)
    wrk.method = "PUT"
    wrk.headers["Content-Type"] = "application/octet-stream"
end

function request()
    n = n + 1
    local at = n * 7 % (#noise - 1008)
    local body = string.format("%016d", n) .. noise:sub(at + 1, at + 1008)
    return wrk.format(nil, "/kv/put/" .. run .. "-" .. id .. "-" .. n, nil, body)
end
