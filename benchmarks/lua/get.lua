-- GET existing artifacts in turn. Arguments: their hashes.

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
dofile(here .. "common.lua")

local requests, turn = {}, 0

function init(args)
  local query = wrk.path:match("%?.*$") or ""
  for i = 1, #args do
    requests[i] = wrk.format("GET", "/v8/artifacts/" .. args[i] .. query)
  end
  turn = thread_id * 7
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end
