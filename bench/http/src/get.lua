-- Gets keys drawn at random.
-- Arguments: how many keys there are.
local threads = 0

function setup(thread)
    thread:set("id", threads)
    threads = threads + 1
end

function init(args)
    math.randomseed(id + 1)
    gets = {}
    for i = 1, tonumber(args[1]) do
        gets[i] = wrk.format("GET", string.format("/kv/hot/%06d", i - 1))
    end
end

function request()
    return gets[math.random(#gets)]
end
