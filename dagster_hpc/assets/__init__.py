"""Assets, multi-assets and asset checks whose computation is a batch job."""

from dagster_hpc.assets.asset import HPCAsset, hpc_asset
from dagster_hpc.assets.check import HPCAssetCheck, hpc_asset_check
from dagster_hpc.assets.config import HPCJobConfig
from dagster_hpc.assets.multi import hpc_multi_asset
from dagster_hpc.assets.options import AssetOptions
from dagster_hpc.assets.python_asset import hpc_python_asset

__all__ = [
    "AssetOptions",
    "HPCAsset",
    "HPCAssetCheck",
    "HPCJobConfig",
    "hpc_asset",
    "hpc_asset_check",
    "hpc_multi_asset",
    "hpc_python_asset",
]
