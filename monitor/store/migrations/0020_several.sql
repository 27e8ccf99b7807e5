-- Sums of moderated calls by category, and of scores by name, in `source_hours`: of both, a call has several.
-- Made by `python -m monitor.kpis.source_hours`.
ALTER TABLE source_hours ADD COLUMN IF NOT EXISTS found__n_by_category Map(String, Float64) CODEC(ZSTD(1));
ALTER TABLE source_hours ADD COLUMN IF NOT EXISTS found__w_by_category Map(String, Float64) CODEC(ZSTD(1));
ALTER TABLE source_hours ADD COLUMN IF NOT EXISTS found__ww_by_category Map(String, Float64) CODEC(ZSTD(1));
ALTER TABLE source_hours ADD COLUMN IF NOT EXISTS barred__n_by_category Map(String, Float64) CODEC(ZSTD(1));
ALTER TABLE source_hours ADD COLUMN IF NOT EXISTS barred__w_by_category Map(String, Float64) CODEC(ZSTD(1));
ALTER TABLE source_hours ADD COLUMN IF NOT EXISTS barred__ww_by_category Map(String, Float64) CODEC(ZSTD(1));
ALTER TABLE source_hours ADD COLUMN IF NOT EXISTS scored__n_by_name Map(String, Float64) CODEC(ZSTD(1));
ALTER TABLE source_hours ADD COLUMN IF NOT EXISTS scored__w_by_name Map(String, Float64) CODEC(ZSTD(1));
ALTER TABLE source_hours ADD COLUMN IF NOT EXISTS scored__ww_by_name Map(String, Float64) CODEC(ZSTD(1));
ALTER TABLE source_hours ADD COLUMN IF NOT EXISTS scored__wx_by_name Map(String, Float64) CODEC(ZSTD(1));
ALTER TABLE source_hours ADD COLUMN IF NOT EXISTS scored__wwx_by_name Map(String, Float64) CODEC(ZSTD(1));
ALTER TABLE source_hours ADD COLUMN IF NOT EXISTS scored__wwxx_by_name Map(String, Float64) CODEC(ZSTD(1));
