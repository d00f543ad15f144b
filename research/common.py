import math, time, torch, sys
from torch import nn
from torch.nn import functional as F
import torch_growl as tg
from torch_growl.data import load_data
from torch_growl.networks import mnist_mlp
from pathlib import Path
torch.set_num_threads(1)
S=load_data("mnist",Path("/work/shared/data"),0)
X,Y=S.train.x,S.train.y; XV,YV=S.validation.x,S.validation.y; XT,YT=S.test.x,S.test.y
def acc(net,x,y):
    net.eval()
    with torch.no_grad(): return (torch.cat([net(b).argmax(1) for b in x.split(1000)])==y).float().mean().item()*100
def fit(net,epochs,lr,wd=5e-4,growl=None,every=1,seed=0,x=X,y=Y,teacher=None,T=2.0,alpha=0.0,bs=128,sched="cosine",log=None,warm=0,ls=0.0,xv=None,mom=.9,nest=False):
    opt=torch.optim.SGD(net.parameters(),lr=lr,momentum=mom,weight_decay=wd,nesterov=nest)
    if growl is not None: growl.attach(opt,every=every)
    n=len(x); steps=n//bs; g=torch.Generator().manual_seed(seed)
    tot=epochs*steps; k=0
    for e in range(epochs):
        net.train(); perm=torch.randperm(n,generator=g)
        for s in range(steps):
            f=0.5*(1+math.cos(math.pi*k/tot)) if sched=="cosine" else 1.0
            if warm and k<warm*steps: f*= (k+1)/(warm*steps)
            opt.param_groups[0]["lr"]=max(lr*f,1e-8); k+=1
            i=perm[s*bs:(s+1)*bs]; out=net(x[i]); loss=F.cross_entropy(out,y[i],label_smoothing=ls) if alpha<1 else 0
            if alpha>0: loss=(1-alpha)*loss+alpha*T*T*F.kl_div(F.log_softmax(out/T,1),F.log_softmax(teacher[i]/T,1),log_target=True,reduction="batchmean")
            opt.zero_grad(set_to_none=True); loss.backward(); opt.step()
        if log and (e+1)%log==0: print(e+1,round(loss.item(),4), growl.nonzero() if growl else "", round(acc(net,xv if xv is not None else XV,YV),2),flush=True)
    return net
