"""Experts on different processes: tokens go to where theirs are and come back worked on (GShard, Lepikhin et al. 2021)."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from groundup.models.parts.moe import MixtureOfExperts
from groundup.training.collectives import Group, exchange


def exchanged_work(module: MixtureOfExperts, group: Group, each: int, asked: list[Tensor]) -> list[Tensor]:
    """What `MixtureOfExperts.work` gives, where each process of the group has `each` of the experts."""
    n, rank = group.size(), group.rank()
    sent_X = torch.tensor([len(one) for one in asked])
    received_X = torch.empty_like(sent_X)
    dist.all_to_all_single(received_X, sent_X, group=group)
    sent, received = sent_X.view(n, each).sum(1).tolist(), received_X.view(n, each).sum(1).tolist()
    there_ND = exchange(torch.cat(asked), sent, received, group)
    pieces = list(torch.split(there_ND, received_X.tolist()))  # by process, then by own expert
    done: list[Tensor] = [there_ND] * len(pieces)
    for own in range(each):
        numbers = range(own, n * each, each)
        worked = module.experts[rank * each + own](torch.cat([pieces[number] for number in numbers]))
        for number, piece in zip(numbers, torch.split(worked, [len(pieces[number]) for number in numbers]), strict=True):
            done[number] = piece
    back_ND = exchange(torch.cat(done), received, sent, group)
    return list(torch.split(back_ND, sent_X.tolist()))
