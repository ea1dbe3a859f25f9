-- PUT artifacts, each under a unique hash, which is also the start of its body.
-- Arguments: seed, size of an artifact in bytes.

local ffi = require("ffi")
local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local common = dofile(here .. "common.lua")

local PLACEHOLDER = "0000000000000000"

local buffer, length, sequence, path_at, body_at

-- Incompressible bytes, like the zstd archives that `turbo` uploads.
local function noise(size)
  local words = math.ceil(size / 8)
  local bytes = ffi.new("uint64_t[?]", words)
  for i = 0, words - 1 do bytes[i] = common.mix(ffi.cast("uint64_t", i)) end
  return ffi.string(bytes, size)
end

function init(args)
  local seed, size = tonumber(args[1]), tonumber(args[2])
  sequence = common.sequence_start(seed, thread_id)
  local query = wrk.path:match("%?.*$") or ""
  local text = wrk.format("PUT", "/v8/artifacts/" .. PLACEHOLDER .. query, {
    ["Content-Type"] = "application/octet-stream",
    ["Authorization"] = wrk.headers["Authorization"], ["Host"] = wrk.headers["Host"],
    ["x-artifact-duration"] = "1234" }, PLACEHOLDER .. noise(size - #PLACEHOLDER))
  path_at = text:find(PLACEHOLDER, 1, true) - 1
  body_at = text:find("\r\n\r\n", 1, true) + 3
  buffer, length = common.buffer(text)
end

function request()
  sequence = sequence + 1
  local hash = common.mix(sequence)
  common.write_hex(buffer, path_at, hash)
  common.write_hex(buffer, body_at, hash)
  return ffi.string(buffer, length)
end
